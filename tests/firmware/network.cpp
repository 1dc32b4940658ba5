#include "tests/firmware/network.hpp"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "lwip/dns.h"
#include "lwip/init.h"
#include "lwip/ip.h"
#include "lwip/memp.h"
#include "lwip/priv/tcp_priv.h"
#include "lwip/stats.h"
#include "lwip/timeouts.h"

namespace test {

// What is below the two hosts: one per process, as lwIP is.
class Wire {
public:
    static Wire& get() {
        static Wire wire;
        return wire;
    }

    err_t send(bool from_a, const pbuf* p) {
        std::string bytes(p->tot_len, '\0');
        pbuf_copy_partial(p, bytes.data(), p->tot_len, 0);
        if (net == nullptr || !net->up || chance(net->weather.loss)) return ERR_OK;   // lost
        if (net->filter && !net->filter(from_a, bytes)) return ERR_OK;
        for (int copies = chance(net->weather.duplicates) ? 2 : 1; copies != 0; --copies) {
            const uint64_t jitter = net->weather.jitter_ms == 0 ? 0 : random() % (net->weather.jitter_ms + 1);
            flying.emplace(time + net->weather.delay_ms + jitter, Packet{from_a, bytes});
        }
        return ERR_OK;
    }
    // Delivers what is due. False: nothing was.
    bool deliver() {
        if (flying.empty() || flying.begin()->first > time) return false;
        const Packet packet = std::move(flying.begin()->second);
        flying.erase(flying.begin());
        netif& receiver = packet.from_a ? b : a;
        pbuf* p = pbuf_alloc(PBUF_RAW, static_cast<u16_t>(packet.bytes.size()), PBUF_POOL);
        if (p == nullptr) return true;   // as a driver does without memory: lost
        pbuf_take(p, packet.bytes.data(), p->tot_len);
        if (receiver.input(p, &receiver) != ERR_OK) pbuf_free(p);
        return true;
    }

    bool chance(unsigned in_1000) { return in_1000 != 0 && random() % 1000 < in_1000; }

    struct Packet {
        bool from_a;
        std::string bytes;
    };
    Network* net = nullptr;
    std::mt19937 random;                          // of the weather
    std::mt19937 entropy;                         // lwIP's
    unsigned last_random = 0;
    uint64_t time = 0xFFFF0000;                   // lwIP's and the client's 32-bit clock wraps soon
    std::multimap<uint64_t, Packet> flying;
    netif a{}, b{};

    uint64_t allocations = 0, fail_first = 0, fail_last = 0;
    unsigned connection_limit = ~0U;

    void start() {
        if (std::exchange(started_, true)) return;
        lwip_init();
        add(a, address_a, "fd00::1");
        add(b, address_b, address_b6);
        ip_addr_t server;
        ipaddr_aton(address_b, &server);
        dns_setserver(0, &server);
    }

private:
    bool started_ = false;
    static void add(netif& host, const char* address4, const char* address6) {
        ip4_addr_t address, mask, none;
        ip4addr_aton(address4, &address);
        ip4addr_aton("255.255.255.255", &mask);
        ip4_addr_set_zero(&none);
        netif_add(&host, &address, &mask, &none, nullptr, set_up, ip_input);
        ip6_addr_t six;
        ip6addr_aton(address6, &six);
        netif_ip6_addr_set(&host, 0, &six);
        netif_ip6_addr_set_state(&host, 0, IP6_ADDR_PREFERRED);
        netif_set_link_up(&host);
        netif_set_up(&host);
    }
    static err_t set_up(netif* host) {
        host->name[0] = 't';
        host->mtu = 1500;
        host->output = [](netif* from, pbuf* p, const ip4_addr_t*) { return get().send(from == &get().a, p); };
        host->output_ip6 = [](netif* from, pbuf* p, const ip6_addr_t*) { return get().send(from == &get().a, p); };
        return ERR_OK;
    }
};

namespace {

constexpr char time_to_live = 5;   // of a name's address, in seconds

std::string statistics() {
    std::string text;
    for (int i = 0; i < MEMP_MAX; ++i) {
        const stats_mem& pool = *lwip_stats.memp[i];
        text += std::string(pool.name) + " " + std::to_string(pool.used) + "\n";
    }
    return text + "heap " + std::to_string(lwip_stats.mem.used) + "\n";
}

}  // namespace
}  // namespace test

// ---- what lwIP calls, see lwipopts.h

extern "C" {

u32_t sys_now(void) { return static_cast<u32_t>(test::Wire::get().time); }

unsigned lwip_test_random(void) {
    test::Wire& wire = test::Wire::get();
    return wire.last_random = static_cast<unsigned>(wire.entropy());
}

void* lwip_test_malloc(size_t size) {
    constexpr size_t extra = LWIP_MEM_ALIGN_SIZE(sizeof(mem_size_t));   // the heap's statistics
    const bool timer = size == extra + LWIP_MEM_ALIGN_SIZE(sizeof(sys_timeo));
    const bool connection = size == extra + LWIP_MEM_ALIGN_SIZE(sizeof(tcp_pcb));
    const bool buffer = size == extra + LWIP_MEM_ALIGN_SIZE(sizeof(pbuf)) + LWIP_MEM_ALIGN_SIZE(PBUF_POOL_BUFSIZE);
    if (timer) return std::malloc(size);
    test::Wire& wire = test::Wire::get();
    ++wire.allocations;
    if (wire.allocations >= wire.fail_first && wire.allocations <= wire.fail_last) return nullptr;
    if (buffer && lwip_stats.memp[MEMP_PBUF_POOL]->used >= PBUF_POOL_SIZE) return nullptr;
    if (connection && lwip_stats.memp[MEMP_TCP_PCB]->used >= wire.connection_limit) return nullptr;
    return std::malloc(size);
}
void* lwip_test_calloc(size_t count, size_t size) {
    void* const memory = lwip_test_malloc(count * size);
    if (memory != nullptr) std::memset(memory, 0, count * size);
    return memory;
}
void lwip_test_free(void* memory) { std::free(memory); }

netif* lwip_test_route4(const ip4_addr* destination) {
    test::Wire& wire = test::Wire::get();
    return ip4_addr_cmp(destination, netif_ip4_addr(&wire.b)) ? &wire.a : &wire.b;
}
netif* lwip_test_route6(const ip6_addr* destination) {
    test::Wire& wire = test::Wire::get();
    return ip6_addr_cmp(destination, netif_ip6_addr(&wire.b, 0)) ? &wire.a : &wire.b;
}
}

namespace test {

// ------------------------------------------------------------------------------------------------------- Network

Network::Network(unsigned seed, Weather kind) : weather(kind) {
    Wire& wire = Wire::get();
    wire.start();
    wire.net = this;
    wire.random.seed(seed);
    wire.entropy.seed(seed);
    statistics_before_ = statistics();
    dns_ = udp_new();
    udp_bind(dns_, IP_ADDR_ANY, 53);
    udp_recv(dns_, [](void* self, udp_pcb*, pbuf* p, const ip_addr_t* from, u16_t port) {
        Network& net = *static_cast<Network*>(self);
        Question question{*from, port, std::string(p->tot_len, '\0')};
        pbuf_copy_partial(p, question.bytes.data(), p->tot_len, 0);
        pbuf_free(p);
        ++net.questions;
        if (net.names_answered) net.answer(question);
        else net.kept_.push_back(question);
    }, this);
}

Network::~Network() {
    Wire& wire = Wire::get();
    fail_allocations(1, 0);
    limit_connections(~0U);
    filter = nullptr;
    weather = {};
    up = true;
    // What closes needs its time: retransmissions, TIME_WAIT, questions to a server that does not answer.
    const bool settled = settle(1800000);
    pass(1000 * time_to_live + 1000);   // TCP's own timer stops when it finds nothing to do, and names are forgotten
    udp_remove(dns_);
    wire.net = nullptr;
    wire.flying.clear();
    CHECK(settled);
    CHECK(statistics() == statistics_before_);
}

uint32_t Network::now() const { return sys_now(); }

bool Network::settle(uint32_t limit_ms) {
    return until([&] {
        if (tcp_active_pcbs != nullptr || tcp_tw_pcbs != nullptr) return false;
        constexpr unsigned ours = 1;   // dns_
        return lwip_stats.memp[MEMP_UDP_PCB]->used == ours && Wire::get().flying.empty();
    }, {}, limit_ms);
}

bool Network::until(const std::function<bool()>& condition, const std::function<uint32_t()>& step, uint32_t limit_ms) {
    Wire& wire = Wire::get();
    const uint64_t limit = wire.time + limit_ms;
    for (uint64_t rounds = 0; rounds < 20000000; ++rounds) {
        while (wire.deliver()) {}
        sys_check_timeouts();
        uint64_t idle = UINT32_MAX;
        for (const auto& server : servers) idle = std::min<uint64_t>(idle, server());
        if (condition()) return true;
        if (step) idle = std::min<uint64_t>(idle, step());
        if (condition()) return true;
        if (!wire.flying.empty() && wire.flying.begin()->first <= wire.time) continue;
        if (idle == 0) continue;
        if (!wire.flying.empty()) idle = std::min(idle, wire.flying.begin()->first - wire.time);
        const uint32_t timers = sys_timeouts_sleeptime();
        if (timers != SYS_TIMEOUTS_SLEEPTIME_INFINITE) idle = std::min<uint64_t>(idle, timers);
        if (wire.time >= limit) return false;
        wire.time = std::min(wire.time + std::max<uint64_t>(idle, 1), limit);
    }
    return false;   // something never sleeps
}

void Network::fail_allocations(uint64_t first, uint64_t last) {
    Wire& wire = Wire::get();
    wire.fail_first = wire.allocations + first;
    wire.fail_last = wire.allocations + last;
}
uint32_t Network::last_random() const { return Wire::get().last_random; }
uint64_t Network::allocations() const { return Wire::get().allocations; }
void Network::limit_connections(unsigned count) { Wire::get().connection_limit = count; }

void Network::answer_names() {
    names_answered = true;
    for (const Question& question : std::exchange(kept_, {})) answer(question);
}

// RFC 1035: one question in, the same with one answer out.
void Network::answer(const Question& question) {
    const std::string& in = question.bytes;
    if (in.size() < 17) return;
    std::string name;
    size_t at = 12;
    while (at < in.size() && in[at] != 0) {
        const size_t length = static_cast<uint8_t>(in[at]);
        name += (name.empty() ? "" : ".") + in.substr(at + 1, length);
        at += length + 1;
    }
    const bool wants_six = static_cast<uint8_t>(in[at + 2]) == 28;   // AAAA
    std::string out = in.substr(0, at + 5);
    const auto found = names.find(name);
    ip_addr_t address{};
    const bool known = found != names.end();
    const bool has = known && ipaddr_aton(found->second.c_str(), &address) != 0 && IP_IS_V6_VAL(address) == wants_six;
    out[2] = static_cast<char>(0x81);                                // an answer
    out[3] = static_cast<char>(known ? 0x80 : 0x83);                 // no such name
    out[7] = static_cast<char>(has);
    if (has) {
        const char size = wants_six ? 16 : 4;
        out += {char(0xC0), 12, 0, char(wants_six ? 28 : 1), 0, 1, 0, 0, 0, time_to_live, 0, size};
        const void* const data = wants_six ? static_cast<const void*>(ip_2_ip6(&address)) : ip_2_ip4(&address);
        out.append(static_cast<const char*>(data), static_cast<size_t>(size));
    }
    pbuf* const p = pbuf_alloc(PBUF_TRANSPORT, static_cast<u16_t>(out.size()), PBUF_RAM);
    if (p == nullptr) return;
    pbuf_take(p, out.data(), p->tot_len);
    udp_sendto(dns_, p, &question.from, question.port);
    pbuf_free(p);
}

// -------------------------------------------------------------------------------------------------------- Server

Server::Server(Network& net, uint16_t port) : net_(net), port_(port) {
    place_ = net_.servers.insert(net_.servers.end(), [this] { return pump(); });
    listen();
}

Server::~Server() {
    stop_listening();
    net_.servers.erase(place_);
    for (Connection& connection : connections) {
        if (connection.pcb == nullptr) continue;
        tcp_arg(connection.pcb, nullptr);
        tcp_recv(connection.pcb, nullptr);
        tcp_err(connection.pcb, nullptr);
        tcp_abort(connection.pcb);
    }
}

void Server::listen() {
    if (listener_ != nullptr) return;
    tcp_pcb* const pcb = tcp_new_ip_type(IPADDR_TYPE_ANY);
    REQUIRE(pcb != nullptr);
    REQUIRE(tcp_bind(pcb, IP_ANY_TYPE, port_) == ERR_OK);
    listener_ = tcp_listen(pcb);
    REQUIRE(listener_ != nullptr);
    tcp_arg(listener_, this);
    tcp_accept(listener_, on_accept);
}
void Server::stop_listening() {
    if (listener_ != nullptr) tcp_close(std::exchange(listener_, nullptr));
}

err_t Server::on_accept(void* self, tcp_pcb* pcb, err_t error) {
    if (error != ERR_OK || pcb == nullptr) return ERR_VAL;
    Server& server = *static_cast<Server*>(self);
    Connection& connection = server.connections.emplace_back();
    connection.pcb = pcb;
    tcp_arg(pcb, &connection);
    tcp_nagle_disable(pcb);
    tcp_recv(pcb, on_received);
    tcp_err(pcb, on_error);
    server.on_accept(connection);
    return ERR_OK;
}

err_t Server::on_received(void* argument, tcp_pcb*, pbuf* bytes, err_t) {
    Connection& connection = *static_cast<Connection*>(argument);
    if (bytes == nullptr) {
        connection.ended = true;
        return ERR_OK;
    }
    const size_t before = connection.in.size();
    connection.in.resize(before + bytes->tot_len);
    pbuf_copy_partial(bytes, connection.in.data() + before, bytes->tot_len, 0);
    connection.untaken += bytes->tot_len;
    pbuf_free(bytes);
    return ERR_OK;
}

void Server::on_error(void* argument, err_t error) {
    Connection& connection = *static_cast<Connection*>(argument);
    connection.pcb = nullptr;
    connection.error = error;
}

void Server::take() {
    for (Connection& connection : connections) {
        if (connection.pcb != nullptr && connection.untaken != 0)
            tcp_recved(connection.pcb, static_cast<u16_t>(connection.untaken));
        connection.untaken = 0;
    }
}

void Server::reset() {
    for (Connection& connection : connections)
        if (connection.pcb != nullptr) tcp_abort(connection.pcb);   // on_error tells
}

uint32_t Server::pump() {
    for (Connection& connection : connections) {
        if (connection.untaken != 0 && takes) on_receive(connection, connection.in);
        const bool gone = connection.pcb == nullptr || connection.ended;
        if (gone && !std::exchange(connection.told, true)) on_gone(connection);
    }
    if (takes) take();
    const uint32_t idle = before_sending();
    for (Connection& connection : connections) {
        if (connection.pcb == nullptr) continue;
        while (!connection.out.empty()) {
            const u16_t n = std::min<u16_t>(tcp_sndbuf(connection.pcb), TCP_MSS);
            const u16_t size = static_cast<u16_t>(std::min<size_t>(connection.out.size(), n));
            if (size == 0) break;
            if (tcp_write(connection.pcb, connection.out.data(), size, TCP_WRITE_FLAG_COPY) != ERR_OK) break;
            connection.out.erase(0, size);
        }
        tcp_output(connection.pcb);
        if (connection.out.empty() && (connection.closing || connection.ended)) {
            tcp_arg(connection.pcb, nullptr);
            tcp_recv(connection.pcb, nullptr);
            tcp_err(connection.pcb, nullptr);
            tcp_close(std::exchange(connection.pcb, nullptr));
        }
    }
    return idle;
}

}  // namespace test
