//! Texts of `--help` that are longer than a few lines.

pub(crate) const CUT_HELP: &str = "\
A log grows with every entry. A replica that runs a server needs the whole log, because a new server
starts from slot 1. A witness runs no server, so its log can be cut behind a committed slot:
    crane-linux status --data-dir D       shows the committed slot, while the witness runs
    crane-linux log cut D --behind SLOT   cuts the log, while the witness is stopped
    crane-linux log show D                shows in its first line where the log starts

SLOT must be committed according to the log itself, which may lag a little behind status. The other
members are asked: a majority of the voters must have it without the witness, and vote. A member
that lacks earlier slots then fetches them from the other replicas, so keep the slots that a member
may still need. If the host crashes during the cut, the log is either whole or cut. The log consists
of files of 32 MiB, and only whole files are deleted, so the log may not become shorter at once.";

pub(crate) const DIFF_HELP: &str = "\
When the marks of servers differ, each replica keeps the latest history of its server in its data
directory: frozen/slot-N holds hashes of blocks of 1024 calls for the last 64 Mi calls, the last
262144 calls, and the hashes at the last slots. Copy the directory frozen of two hosts to one host
that has the program and its libraries as well, so that places in them have names:
    scp -r 10.0.0.1:/srv/app/.crane/redis-server/frozen one/
    scp -r 10.0.0.3:/srv/app/.crane/redis-server/frozen three/
    crane-linux diff one three
The command compares the highest slot that both sides have, and works while the replicas run.

Exit status: 0 if everything that both sides keep is equal; 1 if they differ; 2 if the command
cannot compare them (the last line says why).";

pub(crate) const SIGNAL_HELP: &str = "\
The signal is an op of the log: it reaches the program at the same call on each replica, so that
what the program does of it is the same everywhere. Use it where you would use kill(1): to let a
server read its configuration again (HUP), open its log files anew (USR1), or end by itself (TERM).
A signal that a person sends to one replica's process reaches that one alone.

For example:
  crane-linux signal HUP --peers a,b,c      # or --data-dir D

A program without a handler ends, or ignores the signal, as natively: a program that ends so is
started again on its files, as if it had crashed. SIGKILL, SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU and
SIGCONT, those of faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), and the two that libc
keeps for itself (32 and 33) cannot be sent.

It exits with 1 if the signal is not known to have been sent.";

pub(crate) const RESTART_HELP: &str = "\
The group agrees on one slot of the log, at which the server of each replica ends as by a loss of
power: what it has written to its files is there when it starts again, at once, and what it had in
memory only is gone. Its /run and /dev/shm are empty. The connections of all clients are reset; what
they send afterwards reaches the next incarnation of the server.

Each replica keeps the files as a checkpoint (slot-N in checkpoints of its data directory), and the
server starts on a copy of them, which takes a while if they are large and their file system has no
reflinks. Once the servers have done the same for a while, the log before the slot is deleted: this
is how it is cut on hosts without CRIU.

The same happens by itself when the program crashes at one point on more than half of the servers:
by a signal, or with a status other than 0 after it has listened at a port. The request before the
crash is not repeated, and no files are kept. The third crash within a minute stops the group.";

pub(crate) const UPGRADE_HELP: &str = "\
Put the new program, its libraries and its files to their places on the hosts of all replicas first,
beside those that are in use. Then, on any host:
    crane-linux upgrade --data-dir D -- redis-server --port 6379 --appendonly yes --maxmemory 1gb

Each replica looks at the command as it would at its start, in its own working directory, with its
own options and environment. If their bases differ, the command names the difference, and nothing
changes. Otherwise the server ends at one point on all replicas, as by restart, and the new program
starts on the files that it has left. A file of the old program that the server has written hides a
new one of the same name.

Each replica keeps these files as a checkpoint (slot-N in checkpoints of its data directory), and
starts from there from then on: the old program is not needed any more. Start replicas with the new
command, or with the old one, which is replaced; give the same --data-dir in both cases. A replica
that has lost its data directory needs the old program once more, or a checkpoint.";

pub(crate) const KEYS_HELP: &str = "\
A group has one authority, which signs a key file for each host. Run these two commands once, on any
host, and then start the replicas in the same directory of each host:
    crane-linux keys init 10.0.0.1 10.0.0.2 10.0.0.3
    for host in 10.0.0.1 10.0.0.2 10.0.0.3; do ssh $host 'install -D -m 600 /dev/stdin \
        /srv/app/.crane/host.keys' <crane-keys/$host.keys; done
Keep the directory crane-keys away from the hosts: whoever has authority.keys can act as any
replica. With operator.keys one can give orders (status, member, upgrade, …), and is no replica.

A host that joins the group gets its file by crane-linux keys add. Before keys expire (status has a
note during the last 30 days), or when a host's key file may be in strange hands, run crane-linux
keys rotate and copy the new files to the hosts, one after the other: running replicas take them
within seconds. Files of before the last rotation are trusted until the next one.";

pub(crate) const EXAMPLES: &str = "\
Examples:
  Three replicas on this machine, at 127.0.0.1, 127.0.0.2 and 127.0.0.3; Ctrl-C stops all:
    crane-linux --local 3 -- civetweb -document_root www -listening_ports 8080 -num_threads 8
    curl http://127.0.0.2:8080/
  The same on three hosts, with the same command on each host, which have keys (see keys --help):
    crane-linux --peers 10.0.0.1,10.0.0.2,10.0.0.3 -- redis-server --port 6379 --appendonly yes
  Show the state of the group:
    crane-linux status --peers 10.0.0.1,10.0.0.2,10.0.0.3
  Replace a host while the group serves (see member replace --help):
    crane-linux member replace 10.0.0.3 10.0.0.4 --peers 10.0.0.1,10.0.0.2

Clients connect to the server's ports at any replica's address, or at those of its --listen; the
replica learns the ports when the server binds them. A Unix socket PATH of the server is at
sockets/PATH in the data directory. To restart a replica that was stopped or killed, run its command
line again.

The program, its libraries, the files in the working directory, the arguments and the environment
(PATH, HOME, LANG, LC_*, TZ, USER and --env) are the group's base. They must be the same on all
hosts, and must not change while the group exists, but by crane-linux upgrade. Files that the server
writes go to the data directory (upper/), never to the host's files.

A program that crashes at one point on more than half of the replicas starts again on its files, on
all of them (see restart --help).

Exit status: 0 after Ctrl-C or SIGTERM, and when the program has ended with status 0 on the group;
1 when the replica cannot continue (the last line says why); 2 for an invalid command line.";

pub(crate) const ADD_HELP: &str = "\
Start the new replica on its host, before or after this command. Give it a new data directory, the
same program, files and arguments as the others, a key file by crane-linux keys add, and a list of
peers that contains itself and at least one running member:
    crane-linux --peers 10.0.0.1,10.0.0.2,10.0.0.4 -- redis-server --port 6379 --appendonly yes
If the command is interrupted, the new replica may remain a learner, which does not vote. Run the
same command again to complete it.";

pub(crate) const PROBE_HELP: &str = "\
Checkpoints need CRIU 4.2 or newer, and root. Debian 12 has no such version: run ci/criu once, in
crane's repository, as root. It builds /usr/local/lib/crane/criu in about a minute. The probe dumps
a small process with threads that listens on TCP, and restores it, in namespaces of its own. It
takes less than a second (10 s at most), changes nothing and leaves nothing behind.

Exit status: 0 if checkpoints work here; 1 if not (the last line says why, and what to do).";
