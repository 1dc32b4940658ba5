// What the codec's tests of MQTT 5 share: golden packets, and the tables of properties and reason codes. Written by hand from
// the specification (table 2-4, the lists of each packet in section 3, and table 2-6), in other words than mqtt.hpp's.

#ifndef MQTT_TESTS_SUPPORT_BYTES5_HPP
#define MQTT_TESTS_SUPPORT_BYTES5_HPP

#include "bytes.hpp"

namespace wire {

inline Golden::List& all5() {
    static Golden::List list;
    return list;
}
// Each is what the codec writes: what may be left out is left out. Shorter and longer forms: packets5.cpp.
struct Golden5 : Golden {
    Golden5(const char* what, std::initializer_list<uint8_t> octets) : Golden(what, octets, all5()) {}
};

namespace golden5 {

// Section 3.1 CONNECT
inline const Golden5 connect_smallest{"CONNECT, clean start, no client id", {
    0x10, 13,                                   // CONNECT, remaining length 13
    0, 4, 'M', 'Q', 'T', 'T',                   // protocol name
    5,                                          // protocol version
    0x02,                                       // connect flags: clean start
    0, 0,                                       // keep alive: off
    0,                                          // no properties
    0, 0,                                       // client id: ""
}};
inline const Golden5 connect_everything{"CONNECT, all properties, will, user name and password", {
    0x10, 104,                                  // CONNECT, remaining length 104
    0, 4, 'M', 'Q', 'T', 'T',                   // protocol name
    5,                                          // protocol version
    0xEE,                                       // connect flags: user name, password, will retain, QoS 1, will, clean start
    0xFF, 0xFF,                                 // keep alive: 65535 s
    36,                                         // property length
    0x11, 0x00, 0x00, 0x0E, 0x10,               // session expiry interval: 3600 s
    0x21, 0x00, 0x14,                           // receive maximum: 20
    0x27, 0x00, 0x01, 0x00, 0x00,               // maximum packet size: 65536
    0x22, 0x00, 0x0A,                           // topic alias maximum: 10
    0x19, 1,                                    // request response information
    0x17, 0,                                    // request problem information: no
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0x15, 0, 1, 'm',                            // authentication method: "m"
    0x16, 0, 2, 0x00, 0xFF,                     // authentication data
    0, 2, 'i', 'd',                             // client id
    31,                                         // property length of the will
    0x18, 0, 0, 0, 5,                           // will delay interval: 5 s
    0x01, 1,                                    // payload format indicator: text
    0x02, 0, 0, 0, 60,                          // message expiry interval: 60 s
    0x03, 0, 1, 'c',                            // content type: "c"
    0x08, 0, 1, 'r',                            // response topic: "r"
    0x09, 0, 2, 0x00, 0x80,                     // correlation data
    0x26, 0, 1, 'a', 0, 0,                      // user property: "a", ""
    0, 4, 'l', 'a', 's', 't',                   // will topic
    0, 4, 'g', 'o', 'n', 'e',                   // will payload
    0, 3, 'b', 'o', 'b',                        // user name
    0, 2, 0x00, 0xFF,                           // password: binary
}};
inline const Golden5 connect_will{"CONNECT, will with QoS 2, without properties and payload", {
    0x10, 24,                                   // CONNECT, remaining length 24
    0, 4, 'M', 'Q', 'T', 'T',                   // protocol name
    5,                                          // protocol version
    0x14,                                       // connect flags: will QoS 2, will
    0, 60,                                      // keep alive: 60 s
    0,                                          // no properties
    0, 3, 'a', 0xC3, 0xA4,                      // client id: "aä"
    0,                                          // no properties of the will
    0, 3, 'w', '/', 't',                        // will topic
    0, 0,                                       // will payload: empty
}};
inline const Golden5 connect_password{"CONNECT, password without a user name", {
    0x10, 23,                                   // CONNECT, remaining length 23
    0, 4, 'M', 'Q', 'T', 'T',                   // protocol name
    5,                                          // protocol version
    0x40,                                       // connect flags: password
    0, 0,                                       // keep alive: off
    5,                                          // property length
    0x11, 0xFF, 0xFF, 0xFF, 0xFF,               // session expiry interval: never
    0, 1, 'c',                                  // client id
    0, 2, 'p', 'w',                             // password
}};

// Section 3.2 CONNACK
inline const Golden5 connack_accepted{"CONNACK, success", {
    0x20, 3,                                    // CONNACK, remaining length 3
    0x00,                                       // flags: no session present
    0x00,                                       // reason code: success
    0,                                          // no properties
}};
inline const Golden5 connack_session_present{"CONNACK, success, session present", {
    0x20, 3,                                    // CONNACK, remaining length 3
    0x01,                                       // flags: session present
    0x00,                                       // reason code: success
    0,                                          // no properties
}};
inline const Golden5 connack_refused{"CONNACK, not authorized, with a reason string", {
    0x20, 8,                                    // CONNACK, remaining length 8
    0x00,                                       // flags: no session present
    0x87,                                       // reason code: not authorized
    5,                                          // property length
    0x1F, 0, 2, 'n', 'o',                       // reason string: "no"
}};
inline const Golden5 connack_everything{"CONNACK, all properties", {
    0x20, 66,                                   // CONNACK, remaining length 66
    0x01,                                       // flags: session present
    0x00,                                       // reason code: success
    63,                                         // property length
    0x11, 0, 0, 0, 30,                          // session expiry interval: 30 s
    0x21, 0, 10,                                // receive maximum: 10
    0x24, 1,                                    // maximum QoS: 1
    0x25, 0,                                    // retain available: no
    0x27, 0, 0, 4, 0,                           // maximum packet size: 1024
    0x12, 0, 2, 'i', 'd',                       // assigned client identifier: "id"
    0x22, 0, 5,                                 // topic alias maximum: 5
    0x1F, 0, 2, 'o', 'k',                       // reason string: "ok"
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0x28, 0,                                    // wildcard subscription available: no
    0x29, 0,                                    // subscription identifier available: no
    0x2A, 0,                                    // shared subscription available: no
    0x13, 0, 60,                                // server keep alive: 60 s
    0x1A, 0, 2, 'r', '/',                       // response information: "r/"
    0x1C, 0, 1, 's',                            // server reference: "s"
    0x15, 0, 1, 'm',                            // authentication method: "m"
    0x16, 0, 1, 0xFF,                           // authentication data
}};

// Section 3.3 PUBLISH
inline const Golden5 publish_smallest{"PUBLISH, the smallest there is with a topic", {
    0x30, 4,                                    // PUBLISH, QoS 0, remaining length 4
    0, 1, 't',                                  // topic
    0,                                          // no properties
}};
inline const Golden5 publish_alias{"PUBLISH, a topic alias in place of the topic", {
    0x31, 7,                                    // PUBLISH, QoS 0, retain, remaining length 7
    0, 0,                                       // topic: ""
    3,                                          // property length
    0x23, 0, 1,                                 // topic alias: 1
    'x',                                        // payload
}};
inline const Golden5 publish_qos_1{"PUBLISH, QoS 1", {
    0x32, 9,                                    // PUBLISH, QoS 1, remaining length 9
    0, 1, 't',                                  // topic
    0, 10,                                      // packet id
    0,                                          // no properties
    'a', 'b', 'c',                              // payload
}};
inline const Golden5 publish_everything{"PUBLISH, QoS 2, dup, retain, all properties", {
    0x3D, 53,                                   // PUBLISH, QoS 2, dup, retain, remaining length 53
    0, 2, 'q', '2',                             // topic
    0x12, 0x34,                                 // packet id
    45,                                         // property length
    0x01, 1,                                    // payload format indicator: text
    0x02, 0, 0, 1, 0,                           // message expiry interval: 256 s
    0x23, 0xFF, 0xFF,                           // topic alias: 65535
    0x08, 0, 3, 'r', '/', 't',                  // response topic: "r/t"
    0x09, 0, 2, 0x00, 0xFF,                     // correlation data
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0x26, 0, 1, 'k', 0, 0,                      // user property: "k", ""
    0x0B, 1,                                    // subscription identifier: 1
    0x0B, 0xFF, 0xFF, 0xFF, 0x7F,               // subscription identifier: 268435455
    0x03, 0, 1, 'c',                            // content type: "c"
    '!',                                        // payload
}};

// Sections 3.4 to 3.7: PUBACK, PUBREC, PUBREL, PUBCOMP
inline const Golden5 puback{"PUBACK", {
    0x40, 2,                                    // PUBACK, remaining length 2
    0, 1,                                       // packet id; success
}};
inline const Golden5 puback_reason{"PUBACK, no matching subscribers", {
    0x40, 3,                                    // PUBACK, remaining length 3
    0xFF, 0xFF,                                 // packet id
    0x10,                                       // reason code: no matching subscribers
}};
inline const Golden5 puback_properties{"PUBACK, quota exceeded, all properties", {
    0x40, 15,                                   // PUBACK, remaining length 15
    0, 1,                                       // packet id
    0x97,                                       // reason code: quota exceeded
    11,                                         // property length
    0x1F, 0, 1, 'r',                            // reason string: "r"
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
}};
inline const Golden5 puback_success_properties{"PUBACK, success, but with a property", {
    0x40, 8,                                    // PUBACK, remaining length 8
    0, 1,                                       // packet id
    0x00,                                       // reason code: success
    4,                                          // property length
    0x1F, 0, 1, 'r',                            // reason string: "r"
}};
inline const Golden5 pubrec{"PUBREC", {
    0x50, 2,                                    // PUBREC, remaining length 2
    0x12, 0x34,                                 // packet id; success
}};
inline const Golden5 pubrec_reason{"PUBREC, packet identifier in use", {
    0x50, 3,                                    // PUBREC, remaining length 3
    0x12, 0x34,                                 // packet id
    0x91,                                       // reason code: packet identifier in use
}};
inline const Golden5 pubrec_properties{"PUBREC, payload format invalid, all properties", {
    0x50, 15,                                   // PUBREC, remaining length 15
    0x12, 0x34,                                 // packet id
    0x99,                                       // reason code: payload format invalid
    11,                                         // property length
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0x1F, 0, 1, 'r',                            // reason string: "r"
}};
inline const Golden5 pubrel{"PUBREL", {
    0x62, 2,                                    // PUBREL with its flags 0010, remaining length 2
    0xAB, 0xCD,                                 // packet id; success
}};
inline const Golden5 pubrel_reason{"PUBREL, packet identifier not found", {
    0x62, 3,                                    // PUBREL with its flags 0010, remaining length 3
    0xAB, 0xCD,                                 // packet id
    0x92,                                       // reason code: packet identifier not found
}};
inline const Golden5 pubrel_properties{"PUBREL, packet identifier not found, all properties", {
    0x62, 15,                                   // PUBREL with its flags 0010, remaining length 15
    0xAB, 0xCD,                                 // packet id
    0x92,                                       // reason code: packet identifier not found
    11,                                         // property length
    0x1F, 0, 1, 'r',                            // reason string: "r"
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
}};
inline const Golden5 pubcomp{"PUBCOMP", {
    0x70, 2,                                    // PUBCOMP, remaining length 2
    0x01, 0x00,                                 // packet id; success
}};
inline const Golden5 pubcomp_reason{"PUBCOMP, packet identifier not found", {
    0x70, 3,                                    // PUBCOMP, remaining length 3
    0x01, 0x00,                                 // packet id
    0x92,                                       // reason code: packet identifier not found
}};
inline const Golden5 pubcomp_properties{"PUBCOMP, packet identifier not found, all properties", {
    0x70, 15,                                   // PUBCOMP, remaining length 15
    0x01, 0x00,                                 // packet id
    0x92,                                       // reason code: packet identifier not found
    11,                                         // property length
    0x1F, 0, 1, 'r',                            // reason string: "r"
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
}};

// Sections 3.8 and 3.9: SUBSCRIBE, SUBACK
inline const Golden5 subscribe_one{"SUBSCRIBE, one filter", {
    0x82, 7,                                    // SUBSCRIBE with its flags 0010, remaining length 7
    0, 1,                                       // packet id
    0,                                          // no properties
    0, 1, '#',                                  // filter
    0x00,                                       // options: QoS 0
}};
inline const Golden5 subscribe_everything{"SUBSCRIBE, three filters, all options and properties", {
    0x82, 38,                                   // SUBSCRIBE with its flags 0010, remaining length 38
    0x12, 0x34,                                 // packet id
    10,                                         // property length
    0x0B, 0x80, 0x01,                           // subscription identifier: 128
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0, 3, 'a', '/', '+',                        // filter
    0x2E,                                       // options: retain handling 2, retain as published, no local, QoS 2
    0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'b',   // filter: "b", shared as "g"
    0x19,                                       // options: retain handling 1, retain as published, QoS 1
    0, 3, 0xC3, 0xA4, '/',                      // filter: "ä/"
    0x04,                                       // options: no local, QoS 0
}};
inline const Golden5 suback_one{"SUBACK, one code", {
    0x90, 4,                                    // SUBACK, remaining length 4
    0, 1,                                       // packet id
    0,                                          // no properties
    0x00,                                       // reason code: granted QoS 0
}};
inline const Golden5 suback_everything{"SUBACK, all properties and codes", {
    0x90, 26,                                   // SUBACK, remaining length 26
    0x12, 0x34,                                 // packet id
    11,                                         // property length
    0x1F, 0, 1, 'r',                            // reason string: "r"
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0x00, 0x01, 0x02,                           // reason codes: granted QoS 0, 1, 2
    0x80, 0x83, 0x87, 0x8F, 0x91,               // unspecified, implementation, not authorized, filter invalid, id in use
    0x97, 0x9E, 0xA1, 0xA2,                     // quota exceeded, no shared ones, no identifiers, no wildcards
}};

// Sections 3.10 and 3.11: UNSUBSCRIBE, UNSUBACK
inline const Golden5 unsubscribe_one{"UNSUBSCRIBE, one filter", {
    0xA2, 6,                                    // UNSUBSCRIBE with its flags 0010, remaining length 6
    0xFF, 0xFF,                                 // packet id
    0,                                          // no properties
    0, 1, '+',                                  // filter
}};
inline const Golden5 unsubscribe_everything{"UNSUBSCRIBE, two filters, all properties", {
    0xA2, 27,                                   // UNSUBSCRIBE with its flags 0010, remaining length 27
    0, 7,                                       // packet id
    7,                                          // property length
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0, 3, 'a', '/', '#',                        // filter
    0, 10, '$', 's', 'h', 'a', 'r', 'e', '/', 'g', '/', 'b',   // filter: "b", shared as "g"
}};
inline const Golden5 unsuback_one{"UNSUBACK, one code", {
    0xB0, 4,                                    // UNSUBACK, remaining length 4
    0, 1,                                       // packet id
    0,                                          // no properties
    0x11,                                       // reason code: no subscription existed
}};
inline const Golden5 unsuback_everything{"UNSUBACK, all properties and codes", {
    0xB0, 21,                                   // UNSUBACK, remaining length 21
    0x01, 0x00,                                 // packet id
    11,                                         // property length
    0x1F, 0, 1, 'r',                            // reason string: "r"
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0x00, 0x11,                                 // reason codes: success, no subscription existed
    0x80, 0x83, 0x87, 0x8F, 0x91,               // unspecified, implementation, not authorized, filter invalid, id in use
}};

// Sections 3.12 and 3.13: PINGREQ, PINGRESP
inline const Golden5 pingreq{"PINGREQ", {0xC0, 0}};
inline const Golden5 pingresp{"PINGRESP", {0xD0, 0}};

// Sections 3.14 and 3.15: DISCONNECT, AUTH
inline const Golden5 disconnect{"DISCONNECT", {0xE0, 0}};   // normal disconnection
inline const Golden5 disconnect_reason{"DISCONNECT, with will message", {
    0xE0, 1,                                    // DISCONNECT, remaining length 1
    0x04,                                       // reason code: disconnect with will message
}};
inline const Golden5 disconnect_everything{"DISCONNECT, server moved, all properties", {
    0xE0, 22,                                   // DISCONNECT, remaining length 22
    0x9D,                                       // reason code: server moved
    20,                                         // property length
    0x11, 0, 0, 0, 0,                           // session expiry interval: 0
    0x1F, 0, 1, 'r',                            // reason string: "r"
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
    0x1C, 0, 1, 's',                            // server reference: "s"
}};
inline const Golden5 auth{"AUTH", {0xF0, 0}};   // success
inline const Golden5 auth_continue{"AUTH, continue authentication, all properties", {
    0xF0, 22,                                   // AUTH, remaining length 22
    0x18,                                       // reason code: continue authentication
    20,                                         // property length
    0x15, 0, 1, 'm',                            // authentication method: "m"
    0x16, 0, 2, 0x00, 0xFF,                     // authentication data
    0x1F, 0, 1, 'r',                            // reason string: "r"
    0x26, 0, 1, 'k', 0, 1, 'v',                 // user property: "k", "v"
}};
inline const Golden5 auth_bare{"AUTH, re-authenticate, without properties", {
    0xF0, 2,                                    // AUTH, remaining length 2
    0x19,                                       // reason code: re-authenticate
    0,                                          // no properties
}};

}  // namespace golden5

// ------------------------------------------------------------------------------------------------- reference

// Section 4.8.2: "$share/", a name without "/", "+" and "#", "/", and a filter.
inline bool is_filter5(std::string_view text) {
    if (!is_filter(text)) return false;
    if (text.substr(0, 7) != "$share/") return true;
    const std::vector<std::string> level = levels(text);
    return level.size() >= 3 && !level[1].empty() && level[1].find_first_of("+#") == std::string::npos &&
           is_filter(text.substr(8 + level[1].size()));
}

// ------------------------------------------------------------------------------------------------- tables

// Where properties and reason codes may be.
namespace in {
enum Place : unsigned {
    connect = 0x0001, will = 0x0002, connack = 0x0004, publish = 0x0008, puback = 0x0010, pubrec = 0x0020,
    pubrel = 0x0040, pubcomp = 0x0080, subscribe = 0x0100, suback = 0x0200, unsubscribe = 0x0400, unsuback = 0x0800,
    disconnect = 0x1000, auth = 0x2000
};
inline constexpr unsigned none = 0;
inline constexpr Place places[] = {connect, will, connack, publish, puback, pubrec, pubrel, pubcomp,
                                   subscribe, suback, unsubscribe, unsuback, disconnect, auth};
}  // namespace in

// Section 2.2.2.2, table 2-4; which may be there more than once, and what the numbers may be: sections 3.1 to 3.15.
enum class Kind { byte, two, four, variable, text, topic, binary, pair };
struct PropertyRow {
    uint8_t id;
    Kind kind;
    unsigned places;           // where it may be
    unsigned many;             // where it may be more than once
    uint32_t lowest, highest;  // of a number
};
inline constexpr uint32_t most = 0xFFFFFFFF;
inline constexpr PropertyRow property_table[] = {
    {1,  Kind::byte,     in::publish | in::will, in::none, 0, 1},                          // Payload Format Indicator
    {2,  Kind::four,     in::publish | in::will, in::none, 0, most},                       // Message Expiry Interval
    {3,  Kind::text,     in::publish | in::will, in::none, 0, 0},                          // Content Type
    {8,  Kind::topic,    in::publish | in::will, in::none, 0, 0},                          // Response Topic
    {9,  Kind::binary,   in::publish | in::will, in::none, 0, 0},                          // Correlation Data
    {11, Kind::variable, in::publish | in::subscribe, in::publish, 1, 268435455},          // Subscription Identifier
    {17, Kind::four,     in::connect | in::connack | in::disconnect, in::none, 0, most},   // Session Expiry Interval
    {18, Kind::text,     in::connack, in::none, 0, 0},                                     // Assigned Client Identifier
    {19, Kind::two,      in::connack, in::none, 0, 65535},                                 // Server Keep Alive
    {21, Kind::text,     in::connect | in::connack | in::auth, in::none, 0, 0},            // Authentication Method
    {22, Kind::binary,   in::connect | in::connack | in::auth, in::none, 0, 0},            // Authentication Data
    {23, Kind::byte,     in::connect, in::none, 0, 1},                                     // Request Problem Information
    {24, Kind::four,     in::will, in::none, 0, most},                                     // Will Delay Interval
    {25, Kind::byte,     in::connect, in::none, 0, 1},                                     // Request Response Information
    {26, Kind::text,     in::connack, in::none, 0, 0},                                     // Response Information
    {28, Kind::text,     in::connack | in::disconnect, in::none, 0, 0},                    // Server Reference
    {31, Kind::text,     in::connack | in::puback | in::pubrec | in::pubrel | in::pubcomp | in::suback | in::unsuback |
                         in::disconnect | in::auth, in::none, 0, 0},                       // Reason String
    {33, Kind::two,      in::connect | in::connack, in::none, 1, 65535},                   // Receive Maximum
    {34, Kind::two,      in::connect | in::connack, in::none, 0, 65535},                   // Topic Alias Maximum
    {35, Kind::two,      in::publish, in::none, 1, 65535},                                 // Topic Alias
    {36, Kind::byte,     in::connack, in::none, 0, 1},                                     // Maximum QoS
    {37, Kind::byte,     in::connack, in::none, 0, 1},                                     // Retain Available
    {38, Kind::pair,     0x3FFF, 0x3FFF, 0, 0},                                            // User Property: anywhere
    {39, Kind::four,     in::connect | in::connack, in::none, 1, most},                    // Maximum Packet Size
    {40, Kind::byte,     in::connack, in::none, 0, 1},                                     // Wildcard Subscription Available
    {41, Kind::byte,     in::connack, in::none, 0, 1},                                     // Subscription Identifier Available
    {42, Kind::byte,     in::connack, in::none, 0, 1},                                     // Shared Subscription Available
};
inline const PropertyRow* property_row(size_t id) {
    for (const PropertyRow& row : property_table)
        if (row.id == id) return &row;
    return nullptr;
}

// Section 2.4, table 2-6. The same value has different names, and thus rows, in different packets.
struct ReasonRow {
    uint8_t code;
    unsigned places;
    const char* name;
};
inline constexpr unsigned of_publish = in::puback | in::pubrec, of_pubrel = in::pubrel | in::pubcomp;
inline constexpr ReasonRow reason_table[] = {
    {0,   in::connack | of_publish | of_pubrel | in::unsuback | in::auth, "success"},
    {0,   in::disconnect, "success"},   // Normal disconnection
    {0,   in::suback, "success"},       // Granted QoS 0
    {1,   in::suback, "granted QoS 1"},
    {2,   in::suback, "granted QoS 2"},
    {4,   in::disconnect, "disconnect with will message"},
    {16,  of_publish, "no matching subscribers"},
    {17,  in::unsuback, "no subscription existed"},
    {24,  in::auth, "continue authentication"},
    {25,  in::auth, "re-authenticate"},
    {128, in::connack | of_publish | in::suback | in::unsuback | in::disconnect, "unspecified error"},
    {129, in::connack | in::disconnect, "malformed packet"},
    {130, in::connack | in::disconnect, "protocol error"},
    {131, in::connack | of_publish | in::suback | in::unsuback | in::disconnect, "implementation specific error"},
    {132, in::connack, "unsupported protocol version"},
    {133, in::connack, "client identifier not valid"},
    {134, in::connack, "bad user name or password"},
    {135, in::connack | of_publish | in::suback | in::unsuback | in::disconnect, "not authorized"},
    {136, in::connack, "server unavailable"},
    {137, in::connack | in::disconnect, "server busy"},
    {138, in::connack, "banned"},
    {139, in::disconnect, "server shutting down"},
    {140, in::connack | in::disconnect, "bad authentication method"},   // table 3-10 leaves DISCONNECT out; brokers send it
    {141, in::disconnect, "keep alive timeout"},
    {142, in::disconnect, "session taken over"},
    {143, in::suback | in::unsuback | in::disconnect, "topic filter invalid"},
    {144, in::connack | of_publish | in::disconnect, "topic name invalid"},
    {145, of_publish | in::suback | in::unsuback, "packet identifier in use"},
    {146, of_pubrel, "packet identifier not found"},
    {147, in::disconnect, "receive maximum exceeded"},
    {148, in::disconnect, "topic alias invalid"},
    {149, in::connack | in::disconnect, "packet too large"},
    {150, in::disconnect, "message rate too high"},
    {151, in::connack | of_publish | in::suback | in::disconnect, "quota exceeded"},
    {152, in::disconnect, "administrative action"},
    {153, in::connack | of_publish | in::disconnect, "payload format invalid"},
    {154, in::connack | in::disconnect, "retain not supported"},
    {155, in::connack | in::disconnect, "QoS not supported"},
    {156, in::connack | in::disconnect, "use another server"},
    {157, in::connack | in::disconnect, "server moved"},
    {158, in::suback | in::disconnect, "shared subscriptions not supported"},
    {159, in::connack | in::disconnect, "connection rate exceeded"},
    {160, in::disconnect, "maximum connect time"},
    {161, in::suback | in::disconnect, "subscription identifiers not supported"},
    {162, in::suback | in::disconnect, "wildcard subscriptions not supported"},
};
inline bool may_have(unsigned place, size_t code) {
    for (const ReasonRow& row : reason_table)
        if (row.code == code && (row.places & place) != 0) return true;
    return false;
}

// Section 1.5.5: by dividing, as its pseudo code does.
inline Octets variable(size_t value) {
    Octets octets;
    do {
        octets.push_back(static_cast<uint8_t>(value % 128 + (value / 128 != 0 ? 128 : 0)));
        value /= 128;
    } while (value != 0);
    return octets;
}

inline void append(Octets& to, const Octets& octets) { to.insert(to.end(), octets.begin(), octets.end()); }

// A packet of this first byte and body.
inline Octets packet(uint8_t first_byte, const Octets& body) {
    Octets octets = {first_byte};
    append(octets, variable(body.size()));
    append(octets, body);
    return octets;
}

// "an UTF-8 encoded string": its length in two bytes, and it.
inline Octets string(std::string_view text) {
    Octets octets = {static_cast<uint8_t>(text.size() / 256), static_cast<uint8_t>(text.size() % 256)};
    append(octets, text);
    return octets;
}

}  // namespace wire
#endif
