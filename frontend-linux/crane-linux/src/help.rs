//! Texts of `--help` that are longer than a few lines.

pub(crate) const CUT_HELP: &str = "\
A log grows with every entry. A replica that runs a server needs the whole log, because a new server
starts from slot 1. A witness runs no server, so its log can be cut behind a committed slot:
    crane-linux status --data-dir D       shows the committed slot, while the witness runs
    crane-linux log cut D --behind SLOT   cuts the log, while the witness is stopped
    crane-linux log show D                shows in its first line where the log starts

SLOT must be committed according to the log itself, which may lag a little behind status. A member
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

pub(crate) const RESTART_HELP: &str = "\
The group agrees on one slot of the log, at which the server of each replica ends as by a loss of
power: what it has written to its files is there when it starts again, at once, and what it had in
memory only is gone. Its /run and /dev/shm are empty. The connections of all clients are reset; what
they send afterwards reaches the next incarnation of the server.

The same happens by itself when the program crashes at one point on more than half of the servers:
by a signal, or with a status other than 0 after it has listened at a port. The request before the
crash is not repeated. The third crash within a minute stops the group.";
