#!/usr/bin/perl
# Counts in a file beside it, as user www-data, and answers with the count.
use strict;
use Fcntl qw(:flock SEEK_SET);
my $folder = $0 =~ m{(.*)/} ? $1 : ".";
open(my $file, "+<", "$folder/count") or die "count: $!";
flock($file, LOCK_EX) or die "flock: $!";
my $count = <$file> + 1;
seek($file, 0, SEEK_SET);
print $file $count;
close($file);
print "Content-Type: text/plain\r\nContent-Length: ", length($count), "\r\n\r\n$count";
