#!/bin/sh
# sh tests/support/mbedtls.sh FOLDER: puts mbedTLS's source into FOLDER: FOLDER/include, FOLDER/library and so on.
exec sh "$(dirname "$0")/debian_source.sh" mbedtls "$1" library/ssl_tls.c
