#!/bin/sh
# sh tests/support/lwip.sh FOLDER: puts lwIP's source into FOLDER: FOLDER/src/include and so on.
exec sh "$(dirname "$0")/debian_source.sh" lwip "$1" src/include/lwip/tcp.h
