// mqtt_sub: subscribes and prints what comes, also what is larger than memory. `mqtt_sub --help` lists the options.
#include "examples/options.hpp"

namespace {

uint8_t rx[65536], tx[262144];   // of tx, up to 3 * 65535 are for -D connect receive-maximum

class Subscriber {
public:
    explicit Subscriber(tool::Options& options) : options_(options) {
        options.connect.manual_ack = true;   // acknowledged when printed
        const auto handling = options.no_retained ? mqtt::RetainHandling::do_not_send : mqtt::RetainHandling::send;
        for (const char* filter : options.topics)
            subscriptions_.push_back({filter, options.qos, false, options.retain_as_published, handling});
        for (const char* filter : options.unsubscribe) unsubscriptions_.push_back(filter);
    }

    int run() {
        if (const std::string wrong = port_.choose(options_.address, options_.tls); !wrong.empty())
            return tool::complain(options_, tool::exit_trouble, "%s", wrong.c_str());
        const mqtt::Result result = client_.connect(options_.connect);
        if (!result.ok())
            return tool::complain(options_, tool::exit_status(result.error), "cannot start: %s",
                                  mqtt::to_string(result.error));
        while (true) {
            const mqtt::Event event = client_.poll();
            if (options_.debug) tool::print(event, client_.version());
            switch (event.kind) {
            case mqtt::Event::connected:
                // The session may be one of an earlier run, with other filters.
                if (!was_connected_ || !event.session_present) subscribe();
                was_connected_ = true;
                break;
            case mqtt::Event::subscribed: on_subscribed(event); break;
            case mqtt::Event::unsubscribed: on_unsubscribed(event); break;
            case mqtt::Event::dropped:
                if (event.error == mqtt::Error::session_lost) break;   // then it is sent anew, see `connected`
                end(tool::complain(options_, tool::exit_server, "a subscription was dropped: %s", mqtt::to_string(event.error)));
                break;
            case mqtt::Event::authentication: end(tool::explain_authentication(options_)); break;
            case mqtt::Event::received: on_message(event.message); break;
            case mqtt::Event::skipped:
                tool::complain(options_, 0, "a message was left out: its topic is too long");
                break;
            case mqtt::Event::disconnected:
                cut_off();
                if (ending_) return flush() ? status_ : tool::exit_trouble;
                status_ = tool::explain(options_, event, port_);
                if (!was_connected_ || tool::is_final(event)) return flush() ? status_ : tool::exit_trouble;
                break;
            case mqtt::Event::none:
                if (!flush()) end(tool::exit_trouble);
                (void)waiter_.wait();
                break;
            default: break;
            }
            if (const auto status = waiter_.told_to_end()) end(*status);
        }
    }

private:
    void end(int status) {
        if (ending_) return;
        ending_ = true;
        status_ = status;
        tool::disconnect(options_, client_);
    }
    void fail(const mqtt::Result& result, const char* what) {
        if (result.ok()) return;
        const int status = tool::exit_status(result.error);
        end(tool::complain(options_, status, "cannot %s: %s", what, mqtt::to_string(result.error)));
    }

    void subscribe() {
        if (!subscriptions_.empty())
            fail(client_.subscribe(subscriptions_.data(), subscriptions_.size(), options_.subscribe_properties), "subscribe");
        if (!unsubscriptions_.empty())
            fail(client_.unsubscribe(unsubscriptions_.data(), unsubscriptions_.size(), options_.unsubscribe_properties),
                 "unsubscribe");
    }
    // How many of them the server refuses.
    size_t refused(const mqtt::Event& event, const char* what, const std::vector<const char*>& filters) const {
        size_t count = 0;
        for (size_t i = 0; i < event.reason_codes.size(); ++i) {
            if (mqtt::granted(event.reason_codes[i])) continue;
            ++count;
            tool::tell_refused(options_, std::string(what) + " '" + filters[i] + "'",
                               static_cast<mqtt::ReasonCode>(event.reason_codes[i]), event);
        }
        return count;
    }
    void on_subscribed(const mqtt::Event& event) {
        const size_t count = refused(event, "the subscription to", options_.topics);
        if (count == event.reason_codes.size()) end(tool::exit_server);
        if (options_.exit_when_subscribed) end(count == 0 ? tool::exit_ok : tool::exit_server);
    }
    void on_unsubscribed(const mqtt::Event& event) {
        const size_t count = refused(event, "to end the subscription to", options_.unsubscribe);
        if (options_.topics.empty()) end(count == 0 ? tool::exit_ok : tool::exit_server);
    }

    // Does it come because it was retained?
    bool is_stored(const mqtt::Message& message) const {
        return message.retain && !(options_.retain_as_published && client_.version() == mqtt::Version::v5);
    }
    // Prints as mosquitto_sub does; a piece at a time if the message is larger than rx.
    void on_message(const mqtt::Message& message) {
        const bool printed = !(options_.no_retained && is_stored(message));
        if (printed) {
            if (message.offset == 0 && options_.properties) tool::print(message.properties, stdout);
            if (message.offset == 0 && options_.verbose)
                printf("%.*s ", static_cast<int>(message.topic.size()), message.topic.data());
            if (message.total == 0 && options_.verbose) fputs("(null)", stdout);
            (void)fwrite(message.payload.data(), 1, message.payload.size(), stdout);
            const bool something = message.total != 0 || options_.verbose;
            if (message.complete() && something && !options_.no_newline) fputc('\n', stdout);
            in_message_ = !message.complete();
        }
        if (!message.complete()) return;
        if (message.packet_id != 0) (void)client_.acknowledge(message.packet_id);
        if (printed && options_.count != 0 && --options_.count == 0) end(tool::exit_ok);
    }
    // The connection ended within a message.
    void cut_off() {
        if (!in_message_) return;
        in_message_ = false;
        fputc('\n', stdout);
        tool::complain(options_, 0, "the last message is incomplete");
    }
    bool flush() {
        if (fflush(stdout) == 0 && ferror(stdout) == 0) return true;
        if (!ending_) tool::complain(options_, 0, "cannot write the output: %s", strerror(errno));
        return false;
    }

    tool::Options& options_;
    std::vector<mqtt::Subscription> subscriptions_;
    std::vector<std::string_view> unsubscriptions_;
    tool::Port port_;
    tool::Client client_{port_, tool::buffers(options_, rx, tx)};
    tool::Waiter<tool::Client> waiter_{options_, port_, client_};
    bool was_connected_ = false;
    bool ending_ = false;
    bool in_message_ = false;     // its last pieces are still to come
    int status_ = tool::exit_ok;
};

}  // namespace

int main(int argc, char** argv) {
    tool::Options options;
    if (const auto status = tool::parse(argc, argv, tool::sub, options)) return *status;
    return Subscriber(options).run();
}
