int lwip_client_placeholder();
