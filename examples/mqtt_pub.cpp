// mqtt_pub: publishes a text, a file, or what comes on the standard input. `mqtt_pub --help` lists the options.
#include "examples/options.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

namespace {

uint8_t rx[65536], tx[1048576];
constexpr size_t copied_maximum = sizeof tx / 16;   // larger messages are sent from where they are, not copied into tx
constexpr size_t read_size = 65536;

// A whole file: mapped, so that its size does not matter.
class File {
public:
    File() = default;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() {
        if (size_ != 0) ::munmap(data_, size_);
    }
    bool map(int fd, size_t size) {
        if (size == 0) return true;
        data_ = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data_ == MAP_FAILED) return false;
        size_ = size;
        return true;
    }
    mqtt::Bytes bytes() const { return mqtt::Bytes(static_cast<const uint8_t*>(data_), size_); }

private:
    void* data_ = nullptr;
    size_t size_ = 0;
};

class Publisher {
public:
    explicit Publisher(const tool::Options& options) : options_(options) {}

    int run() {
        if (options_.file != nullptr && !open_file())
            return tool::complain(options_, tool::exit_trouble, "cannot read '%s': %s", options_.file, strerror(errno));
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
            case mqtt::Event::connected: was_connected_ = true; break;
            case mqtt::Event::acknowledged:
            case mqtt::Event::dropped:
                if (event.kind == mqtt::Event::dropped) {
                    tool::complain(options_, 0, "a message was dropped: %s", mqtt::to_string(event.error));
                    ++lost_;
                } else if (!mqtt::granted(event.reason)) {
                    tool::tell_refused(options_, "a message", event.reason, event);
                    ++refused_;
                }
                if (event.packet_id != 0 && event.packet_id == stream_id_) finish_stream();
                break;
            case mqtt::Event::resend_payload: written_ = 0; break;
            case mqtt::Event::disconnected:
                if (ending_ && (status_ != tool::exit_ok || event.error == mqtt::Error::ok)) return status_;
                status_ = tool::explain(options_, event, port_);
                if (ending_ || !was_connected_ || tool::is_final(event)) return status_;
                if (stream_id_ == 0) streaming_ = false;   // QoS 0: the server has not got it: once more
                written_ = stream_.size();                 // else wait for resend_payload
                break;
            case mqtt::Event::authentication: end(tool::explain_authentication(options_)); break;
            case mqtt::Event::none: work(); break;
            default: break;
            }
            if (const auto status = waiter_.told_to_end()) end(*status);
        }
    }

private:
    // ---- where messages come from

    bool open_file() {
        input_ = ::open(options_.file, O_RDONLY | O_CLOEXEC);
        struct stat status {};
        if (input_ < 0 || ::fstat(input_, &status) != 0) return false;
        if (!S_ISREG(status.st_mode)) return true;   // a pipe, say: read like the standard input
        if (!file_.map(input_, static_cast<size_t>(status.st_size))) return false;
        input_ended_ = true;
        return true;
    }
    void read_input() {
        const size_t size = text_.size();
        text_.resize(size + read_size);
        const ssize_t n = ::read(input_, &text_[size], read_size);
        text_.resize(size + static_cast<size_t>(n > 0 ? n : 0));
        if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN))) return;
        input_ended_ = true;
        if (n < 0) end(tool::complain(options_, tool::exit_trouble, "cannot read the input: %s", strerror(errno)));
    }
    bool reads_input() const { return options_.lines || options_.whole_input || options_.file != nullptr; }

    // The next message, if there is one now. It stays the next one until taken().
    std::optional<mqtt::Bytes> next() {
        if (options_.lines) {
            if (line_end_ < line_begin_) line_end_ = line_begin_;
            line_end_ = text_.find('\n', line_end_);
            if (line_end_ != std::string::npos) return line(line_end_);
            line_end_ = text_.size();                       // from here on to look when there is more
            if (input_ended_ && line_begin_ != text_.size()) return line(text_.size());
            text_.erase(0, line_begin_);
            line_end_ -= line_begin_;
            line_begin_ = 0;
            return std::nullopt;
        }
        if (sent_ || (reads_input() && !input_ended_)) return std::nullopt;
        if (options_.message != nullptr) return mqtt::Bytes(options_.message);
        return text_.empty() ? file_.bytes() : mqtt::Bytes(text_);
    }
    mqtt::Bytes line(size_t end) const { return std::string_view(text_).substr(line_begin_, end - line_begin_); }
    void taken(size_t size) {
        sent_ = true;
        line_begin_ += size;
        if (line_begin_ < text_.size()) ++line_begin_;      // the end of the line
    }

    // ---- where they go

    // Nothing has come: send as much as there is room for, then sleep. Not before it is known what the server takes.
    void work() {
        bool full = !was_connected_;
        while (!full && !ending_) {
            if (streaming_) {
                full = !write_piece();
            } else if (const auto message = next()) {
                full = !publish(*message);
            } else {
                break;
            }
        }
        const bool all_sent = !full && (input_ended_ || !reads_input());
        if (all_sent && client_.unacknowledged() == 0 && client_.connected()) end(tool::exit_ok);
        const bool wants_write = streaming_ && written_ != stream_.size() && client_.connected();
        const bool wants_input = reads_input() && !full && !input_ended_ && !ending_;
        if (waiter_.wait(wants_write, wants_input ? input_ : -1)) read_input();
    }

    // False: not now.
    bool publish(mqtt::Bytes payload) {
        const bool copied = payload.size() <= copied_maximum;
        if (payload.size() > mqtt::max_remaining_length) return fail(mqtt::Error::packet_too_large);
        const uint32_t size = static_cast<uint32_t>(payload.size());
        const mqtt::Result result =
            copied ? client_.publish(options_.topics[0], payload, options_.qos, options_.retain, options_.publish_properties)
                   : client_.begin_publish(options_.topics[0], size, options_.qos, options_.retain,
                                           options_.publish_properties);
        if (!result.ok()) return mqtt::fault(result.error) == mqtt::Fault::not_now ? false : fail(result.error);
        if (copied) {
            taken(payload.size());
        } else {
            streaming_ = true;
            stream_ = payload;
            stream_id_ = result.packet_id;
            written_ = 0;
        }
        return true;
    }
    bool write_piece() {
        if (written_ == stream_.size()) return false;       // waits for its answer
        const mqtt::Bytes rest(stream_.data() + written_, stream_.size() - written_);
        const mqtt::Written written = client_.write_payload(rest);
        written_ += written.size;
        if (written_ == stream_.size() && stream_id_ == 0) finish_stream();
        return written.size != 0;
    }
    void finish_stream() {
        streaming_ = false;
        stream_id_ = 0;
        taken(stream_.size());
    }

    bool fail(mqtt::Error error) {
        end(tool::complain(options_, tool::exit_status(error), "cannot publish: %s", mqtt::to_string(error)));
        return false;
    }
    void end(int status) {
        if (ending_) return;
        ending_ = true;
        status_ = status;
        if (lost_ != 0) tool::complain(options_, 0, "%lu messages may not have arrived", lost_);
        if (lost_ + refused_ != 0 && status_ == tool::exit_ok) status_ = tool::exit_server;
        if (client_.unacknowledged() != 0 || streaming_ || !was_connected_) {
            tool::complain(options_, 0, "ended before all messages were sent and acknowledged");
            if (status_ == tool::exit_ok) status_ = tool::exit_trouble;   // by a signal
        }
        tool::disconnect(options_, client_);
    }

    const tool::Options& options_;
    tool::Port port_;
    tool::Client client_{port_, tool::buffers(options_, rx, tx)};
    tool::Waiter<tool::Client> waiter_{options_, port_, client_};

    int input_ = STDIN_FILENO;
    bool input_ended_ = false;
    std::string text_;            // of the input, what is not sent yet
    size_t line_begin_ = 0;       // of the next line, in text_ ...
    size_t line_end_ = 0;         // ... which does not end before here
    File file_;
    bool sent_ = false;           // the one message, without -l

    mqtt::Bytes stream_;          // the large message that is being sent
    bool streaming_ = false;      // until it is answered
    uint16_t stream_id_ = 0;      // 0: QoS 0
    size_t written_ = 0;          // bytes of it

    unsigned long lost_ = 0, refused_ = 0;
    bool was_connected_ = false;
    bool ending_ = false;
    int status_ = tool::exit_ok;
};

}  // namespace

int main(int argc, char** argv) {
    tool::Options options;
    if (const auto status = tool::parse(argc, argv, tool::pub, options)) return *status;
    return Publisher(options).run();
}
