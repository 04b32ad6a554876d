#!/bin/sh
# Counts in a file beside it, as user www-data, by programs of its own for each step, and answers
# with the count.
[ "${0%/*}" = "$0" ] || cd "${0%/*}" || exit
{
    flock 9
    count=$(($(cat count) + 1))
    echo "$count" | tr -d '\n' >count
} 9<count
printf 'Content-Type: text/plain\r\nContent-Length: %s\r\n\r\n%s' "${#count}" "$count"
