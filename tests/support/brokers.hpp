// Brokers besides mosquitto, for tests against real ones. Each has a configuration and data of its own in a temporary
// folder and listens on 127.0.0.1 only. What is said about them was found with the versions that are named.
#pragma once

#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/process.hpp"

namespace test {

// What they have in common: one process, which can be stopped and started again on the same port with the same data.
class BrokerProgram {
public:
    void start() {
        process.start(command_, (folder.path / "log").string(), environment_);
        const auto known = [&] { return process.ended() || accepts(port) || pause(); };
        if (!eventually(known, std::chrono::minutes(2)) || !process.running())
            throw std::runtime_error(command_[0] + " does not start: " + log());
    }
    std::string log() const { return text_of(folder.path / "log"); }
    // The user name that a client must have; empty: none.
    static std::string user(const std::string&) { return {}; }

    TemporaryFolder folder;
    ReservedPort port;
    Process process;

protected:
    BrokerProgram() = default;
    ~BrokerProgram() { process.stop(); }
    void start(std::vector<std::string> command, std::vector<std::string> environment = {}) {
        command_ = std::move(command);
        environment_ = std::move(environment);
        start();
    }
    std::string path(const std::string& name) const { return (folder.path / name).string(); }

private:
    std::vector<std::string> command_, environment_;
};

// nats-server 2.9.10: version 3.1.1, QoS 0 and 1. Starts in 0.1 s.
class Nats : public BrokerProgram {
public:
    static constexpr int highest_qos = 1;
    static std::string missing() { return find_program("nats-server").empty() ? "nats-server is not installed" : ""; }

    Nats() {
        // MQTT requires JetStream, and that a name. What was not acknowledged comes again after ack_wait, also when its
        // receiver reconnects (30 s if nothing is said).
        const std::string configuration = folder.write("nats.conf",
            "listen: \"127.0.0.1:" + nats_port_.text() + "\"\nserver_name: test\n"
            "jetstream { store_dir: \"" + path("data") + "\" }\n"
            "mqtt { listen: \"127.0.0.1:" + port.text() + "\", ack_wait: \"3s\" }\n");
        BrokerProgram::start({find_program("nats-server"), "-c", configuration});
    }

private:
    ReservedPort nats_port_;
};

// ejabberd 23.01: versions 3.1.1 and 5, QoS 0 to 2. Started without ejabberdctl, which changes the user and names the
// node: so it is one process, without Erlang distribution and epmd, and starts in 1 s. SIGTERM stops it in order.
class Ejabberd : public BrokerProgram {
public:
    static constexpr int highest_qos = 2;
    static std::string missing() {
        return find_program("erl").empty() || libraries().empty() ? "ejabberd is not installed" : "";
    }
    static std::string user(const std::string& name) { return name + "@localhost"; }   // with any password

    Ejabberd() {
        const std::string configuration = folder.write("ejabberd.yml",
            "hosts: [localhost]\nlisten: [{port: " + port.text() + ", ip: \"127.0.0.1\", module: mod_mqtt}]\n"
            "modules: {mod_mqtt: {}}\n"
            "auth_method: [anonymous]\nanonymous_protocol: login_anon\nallow_multiple_connections: true\n");
        const std::string data = '"' + path("data") + '"';   // an Erlang string
        BrokerProgram::start({find_program("erl"), "-noinput", "-mnesia", "dir", data, "-s", "ejabberd"}, {
            "HOME=" + folder.path.string(),
            "ERL_LIBS=" + libraries(),
            "ERL_CRASH_DUMP=" + path("crash"),
            "EJABBERD_CONFIG_PATH=" + configuration,
            "EJABBERD_LOG_PATH=" + path("ejabberd.log")});
    }

private:
    // The folder that Debian has its libraries in, as /usr/lib/x86_64-linux-gnu/ejabberd-23.01.
    static std::string libraries() {
        std::error_code ignored;
        for (const auto& folder : std::filesystem::directory_iterator("/usr/lib", ignored))
            for (const auto& library : std::filesystem::directory_iterator(folder, ignored))
                if (library.path().filename().string().find("ejabberd-") == 0) return folder.path().string();
        return {};
    }
};

// RabbitMQ 3.10.8 with its MQTT plugin: version 3.1.1, QoS 0 and 1. Starts in 8 to 12 s; 3 to 6 s of that the plugin
// waits for other nodes. It needs epmd: one of its own, in the foreground, so that it ends with the test.
class RabbitMq : public BrokerProgram {
public:
    static constexpr int highest_qos = 1;
    static std::string missing() {
        return find_program("epmd").empty() || ::access(program, X_OK) != 0 ? "rabbitmq-server is not installed" : "";
    }

    RabbitMq() : RabbitMq("", "") {}
    ~RabbitMq() { process.stop(); }   // before epmd

protected:
    RabbitMq(const std::string& more_plugins, const std::string& more_configuration) {
        epmd_.start({find_program("epmd"), "-port", epmd_port_.text(), "-address", "127.0.0.1"});
        if (!eventually([&] { return accepts(epmd_port_) || pause(); }))
            throw std::runtime_error("epmd does not start");
        folder.write("rabbitmq.conf", "listeners.tcp = none\nmqtt.listeners.tcp.1 = 127.0.0.1:" + port.text() +
                                      "\nmqtt.allow_anonymous = true\nloopback_users = none\n" + more_configuration);
        BrokerProgram::start({program}, {
            "HOME=" + folder.path.string(),   // of the Erlang cookie
            "ERL_CRASH_DUMP=" + path("crash"),
            "ERL_EPMD_PORT=" + epmd_port_.text(),
            "RABBITMQ_NODENAME=test" + port.text() + "@localhost",
            "RABBITMQ_DIST_PORT=" + distribution_port_.text(),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=-start_epmd false -kernel inet_dist_use_interface {127,0,0,1}",
            "RABBITMQ_CONF_ENV_FILE=" + path("none"),   // not /etc/rabbitmq/rabbitmq-env.conf
            "RABBITMQ_CONFIG_FILE=" + path("rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE=" + folder.write("plugins", "[rabbitmq_mqtt" + more_plugins + "].\n"),
            "RABBITMQ_MNESIA_BASE=" + path("data"),
            "RABBITMQ_LOG_BASE=" + path("logs"),
            "RUNNING_UNDER_SYSTEMD=true"});   // the script becomes the server: one process, which SIGTERM stops well
    }

private:
    // Not the one in /usr/sbin, which changes the user.
    static constexpr const char* program = "/usr/lib/rabbitmq/bin/rabbitmq-server";

    ReservedPort epmd_port_, distribution_port_;
    Process epmd_;
};

// The same with web-mqtt: MQTT over WebSocket, at the path /ws, and that over TLS.
struct WebPorts {
    ReservedPort web, secure_web;
};
class RabbitMqWeb : public WebPorts, public RabbitMq {
public:
    // Three PEM files.
    RabbitMqWeb(const std::string& ca, const std::string& certificate, const std::string& key)
        : RabbitMq(",rabbitmq_web_mqtt", "web_mqtt.tcp.ip = 127.0.0.1\nweb_mqtt.tcp.port = " + web.text() +
                                             "\nweb_mqtt.ssl.ip = 127.0.0.1\nweb_mqtt.ssl.port = " + secure_web.text() +
                                             "\nweb_mqtt.ssl.cacertfile = " + ca + "\nweb_mqtt.ssl.certfile = " + certificate +
                                             "\nweb_mqtt.ssl.keyfile = " + key + "\n") {
        if (!eventually([&] { return process.ended() || (accepts(web) && accepts(secure_web)) || pause(); }) || !process.running())
            throw std::runtime_error("RabbitMQ does not listen for WebSocket: " + log());
    }
};

// aedes 0.51.3 (npm) in Node.js: version 3.1.1, QoS 0 to 2. Starts in 0.2 s. tests/run.sh installs it; the environment
// variable MQTT_AEDES is the folder that it is in.
class Aedes : public BrokerProgram {
public:
    static constexpr int highest_qos = 2;
    static std::string missing() {
        if (find_program("node").empty()) return "Node.js is not installed";
        return std::filesystem::exists(library()) ? "" : "aedes is not installed";
    }

    Aedes() {
        const std::string script = folder.write("aedes.js",
            "const aedes = require(process.argv[2])();\n"
            "require('net').createServer(aedes.handle).listen(Number(process.argv[3]), '127.0.0.1');\n");
        BrokerProgram::start({find_program("node"), script, library(), port.text()});
    }

private:
    static std::string library() {
        const char* const set = std::getenv("MQTT_AEDES");
        const std::filesystem::path folder = set != nullptr ? set : ".build/aedes";
        return std::filesystem::absolute(folder / "node_modules" / "aedes").string();
    }
};

}  // namespace test
