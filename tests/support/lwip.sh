#!/bin/sh
# sh tests/support/lwip.sh FOLDER [RELEASE]: puts lwIP's source into FOLDER: FOLDER/src/include and so on. Debian 12 has
# 2.1.3, its next RELEASE, trixie, has 2.2.1.
exec sh "$(dirname "$0")/debian_source.sh" lwip "$1" src/include/lwip/tcp.h ${2+"$2"}
