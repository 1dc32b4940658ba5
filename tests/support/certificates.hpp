// Certificates for tests of TLS, made by openssl in a temporary folder. Their dates have margins of months.
#pragma once

#include <ctime>
#include <stdexcept>
#include <string>

#include "tests/support/process.hpp"

namespace test {

// A CA and what it has signed, keys, and lists of revoked certificates. `name.crt` and `name.key` are PEM files.
class Certificates {
public:
    Certificates() {
        const std::string script = folder_.write("make.sh", recipe);
        Process shell;
        const std::string log = (folder_.path / "log").string();
        shell.start({"/bin/sh", "-eu", script, folder_.path.string(), date(-720), date(-360), date(360), date(720)}, log);
        if (!eventually([&] { return shell.ended() || pause(); }) || text("done") != "done\n")
            throw std::runtime_error("openssl cannot make certificates: " + text("log"));
    }
    std::string path(const std::string& name) const { return (folder_.path / name).string(); }
    std::string text(const std::string& name) const { return text_of(folder_.path / name); }
    std::string certificate(const std::string& name) const { return text(name + ".crt"); }
    std::string key(const std::string& name) const { return text(name + ".key"); }

private:
    // As openssl ca wants it.
    static std::string date(int days) {
        const std::time_t then = std::time(nullptr) + std::time_t{days} * 24 * 60 * 60;
        char text[20];
        std::tm parts{};
        return {text, std::strftime(text, sizeof text, "%Y%m%d%H%M%SZ", gmtime_r(&then, &parts))};
    }

    // $1: the folder; $2 to $5: two dates that are past, and two to come.
    static constexpr const char* recipe = R"(cd "$1"
past=$2 recently=$3 soon=$4 later=$5
cat >openssl.cnf <<END
[req]
distinguished_name = name
[name]
[any]
policy = policy
database = index
serial = serial
new_certs_dir = .
default_md = sha256
unique_subject = no
default_crl_days = 300
[policy]
commonName = supplied
[ca]
basicConstraints = critical, CA:true
keyUsage = keyCertSign, cRLSign
[server]
subjectAltName = DNS:localhost, DNS:broker.test, DNS:*.wild.test, IP:127.0.0.1, IP:2001:db8::7, IP:10.0.2.2
extendedKeyUsage = serverAuth
[dns_like_address]
subjectAltName = DNS:127.0.0.1
[plain]
basicConstraints = CA:false
[client]
extendedKeyUsage = clientAuth
END
: >index
echo 1000 >serial
export OPENSSL_CONF=openssl.cnf
# request NAME CN: a key and a request
request() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -out "$1.csr" -subj "/CN=$2"; }
# sign NAME EXTENSIONS FROM TO [CA [DIGEST]]
sign() {
    openssl ca -name any -batch -notext -in "$1.csr" -out "$1.crt" -extensions "$2" -startdate "$3" -enddate "$4" \
        -cert "${5-ca}.crt" -keyfile "${5-ca}.key" -md "${6-sha256}"
}
for ca in ca other_ca; do
    request $ca "$ca of the tests"
    openssl ca -name any -batch -notext -selfsign -in $ca.csr -out $ca.crt -extensions ca -startdate $past -enddate $later \
        -keyfile $ca.key
done
for name in server expired future revoked; do request $name $name; done
openssl req -new -newkey rsa:2048 -nodes -keyout rsa.key -out rsa.csr -subj /CN=rsa
request plain broker.test
request like_address 127.0.0.1
request weak localhost
request client device
request foreign_client device
request self_signed localhost
request foreign localhost
sign server server $recently $soon
sign rsa server $recently $soon
sign expired server $past $recently
sign future server $soon $later
sign revoked server $recently $soon
sign weak server $recently $soon ca sha1
sign plain plain $recently $soon
sign like_address dns_like_address $recently $soon
sign client client $recently $soon
sign foreign server $recently $soon other_ca
sign foreign_client client $recently $soon other_ca
openssl ca -name any -batch -notext -selfsign -in self_signed.csr -out self_signed.crt -extensions server \
    -startdate $recently -enddate $soon -keyfile self_signed.key
openssl ec -in client.key -aes256 -passout pass:secret -out client_locked.key
openssl ca -name any -revoke revoked.crt -cert ca.crt -keyfile ca.key
openssl ca -name any -gencrl -cert ca.crt -keyfile ca.key -out ca.crl
openssl ca -name any -gencrl -cert ca.crt -keyfile ca.key -crl_lastupdate $past -crl_nextupdate $recently -out old.crl
for ca in ca other_ca; do openssl x509 -in $ca.crt -outform DER -out $ca.der; done
openssl crl -in ca.crl -outform DER -out ca.crl.der
echo done >done
)";

    TemporaryFolder folder_;
};

inline const Certificates& certificates() {
    static const Certificates made;
    return made;
}

}  // namespace test
