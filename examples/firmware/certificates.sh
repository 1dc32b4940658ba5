# sh examples/firmware/certificates.sh FOLDER KEY: with openssl, a CA (ca.crt, ca.der) and what it says that broker.test is
# (server.crt, server.key), for a day. KEY is ec or rsa.
set -eu
cd "$1"
case $2 in
    ec) key='ec -pkeyopt ec_paramgen_curve:P-256' ;;
    rsa) key=rsa:2048 ;;
    *) echo "certificates.sh: what is '$2'?" >&2; exit 2 ;;
esac
quietly() { "$@" >log 2>&1 || { cat log >&2; exit 1; }; }
quietly openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt -subj "/CN=ca" -days 1
quietly openssl x509 -in ca.crt -outform DER -out ca.der
quietly openssl req -newkey $key -nodes -keyout server.key -out server.csr -subj /CN=broker.test
echo 'subjectAltName = DNS:broker.test' >extensions
quietly openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile extensions -out server.crt -days 1
