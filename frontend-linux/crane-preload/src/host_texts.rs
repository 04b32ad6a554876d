//! The texts of files in /proc and /sys that tell figures of a host or of a process (proc(5)), for
//! the host that the server sees.

use std::fmt::{self, Write};

use crate::figures::Memory;

/// The number of bytes in a KiB, in which most files count.
const KIB: u64 = 1024;

/// The memory that a process uses, as the server sees it: the number of KiB in its address space,
/// and of those that are resident.
const SIZE: u64 = 256 * 1024;
const RESIDENT: u64 = 16 * 1024;
/// The number of bytes in a page.
const PAGE: u64 = 4096;

/// A file whose text is the group's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum HostFile {
    /// /proc/cpuinfo.
    Processors,
    /// /sys/devices/system/cpu/online, and the like.
    ProcessorNumbers,
    /// /proc/meminfo.
    Memory,
    /// /proc/stat.
    Activity,
    /// /proc/loadavg.
    Load,
    /// /proc/uptime.
    Uptime,
    /// /proc/sys/kernel/random/uuid.
    Uuid,
    /// The file `stat` of the process or one of its threads.
    OwnStat,
    /// Its file `statm`.
    OwnMemory,
    /// Its file `status`.
    OwnStatus,
}

impl HostFile {
    /// Returns the file at a path, for a process of this number.
    pub(crate) fn named(path: &[u8], own: i32) -> Option<Self> {
        match path {
            b"/proc/cpuinfo" => Some(Self::Processors),
            b"/proc/meminfo" => Some(Self::Memory),
            b"/proc/stat" => Some(Self::Activity),
            b"/proc/loadavg" => Some(Self::Load),
            b"/proc/uptime" => Some(Self::Uptime),
            b"/proc/sys/kernel/random/uuid" => Some(Self::Uuid),
            b"/sys/devices/system/cpu/online"
            | b"/sys/devices/system/cpu/possible"
            | b"/sys/devices/system/cpu/present" => Some(Self::ProcessorNumbers),
            _ => Self::of_process(path.strip_prefix(b"/proc/")?, own),
        }
    }

    /// Returns the file at a path below /proc if it is one of the process's own.
    fn of_process(path: &[u8], own: i32) -> Option<Self> {
        let mut parts = path.split(|byte| *byte == b'/');
        let process = parts.next()?;
        let is_own =
            process == b"self" || process == b"thread-self" || number(process) == Some(own);
        let mut name = parts.next().filter(|_| is_own)?;
        if name == b"task" {
            number(parts.next()?)?;
            name = parts.next()?;
        }
        let file = match name {
            b"stat" => Self::OwnStat,
            b"statm" => Self::OwnMemory,
            b"status" => Self::OwnStatus,
            _ => return None,
        };
        parts.next().is_none().then_some(file)
    }
}

fn number(text: &[u8]) -> Option<i32> {
    str::from_utf8(text).ok()?.parse().ok()
}

/// The host that the server sees, at a moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SeenHost {
    /// The number of its processors.
    pub processors: u32,
    /// Its memory.
    pub memory: Memory,
    /// The hundredths of a second since its start.
    pub steps: u64,
    /// The hundredths of a second since the server's start.
    pub used: u64,
}

impl SeenHost {
    /// Writes the text of a file. `real` is the text that the kernel has for it, which only those
    /// of the process itself build on.
    pub(crate) fn write(
        &self,
        file: HostFile,
        real: &str,
        random: [u8; 16],
        out: &mut impl Write,
    ) -> fmt::Result {
        match file {
            HostFile::Processors => self.write_processors(out),
            HostFile::ProcessorNumbers if self.processors == 1 => writeln!(out, "0"),
            HostFile::ProcessorNumbers => writeln!(out, "0-{}", self.processors - 1),
            HostFile::Memory => self.write_memory(out),
            HostFile::Activity => self.write_activity(out),
            HostFile::Load => writeln!(out, "0.00 0.00 0.00 1/100 100"),
            HostFile::Uptime => {
                let (seconds, rest) = (self.steps / 100, self.steps % 100);
                writeln!(out, "{seconds}.{rest:02} {seconds}.{rest:02}")
            }
            HostFile::Uuid => write_uuid(random, out),
            HostFile::OwnStat => self.write_stat(real, out),
            HostFile::OwnMemory => {
                let (size, resident) = (SIZE * KIB / PAGE, RESIDENT * KIB / PAGE);
                writeln!(out, "{size} {resident} {} 1 0 {} 0", resident / 4, size / 2)
            }
            HostFile::OwnStatus => self.write_status(real, out),
        }
    }

    fn write_processors(&self, out: &mut impl Write) -> fmt::Result {
        for number in 0..self.processors {
            writeln!(
                out,
                "processor\t: {number}\nmodel name\t: x86-64\ncpu MHz\t\t: 1000.000\n\
                 physical id\t: 0\nsiblings\t: {count}\ncore id\t\t: {number}\n\
                 cpu cores\t: {count}\napicid\t\t: {number}\nfpu\t\t: yes\n\
                 flags\t\t: fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat \
                 pse36 clflush mmx fxsr sse sse2 syscall nx lm\nbogomips\t: 2000.00\n",
                count = self.processors
            )?;
        }
        Ok(())
    }

    fn write_memory(&self, out: &mut impl Write) -> fmt::Result {
        let (all, free) = (self.memory.all / KIB, self.memory.free / KIB);
        for (name, size) in [
            ("MemTotal", all),
            ("MemFree", free),
            ("MemAvailable", free),
            ("Buffers", 0),
            ("Cached", 0),
            ("SwapCached", 0),
            ("Active", all - free),
            ("Inactive", 0),
            ("SwapTotal", 0),
            ("SwapFree", 0),
            ("Dirty", 0),
            ("Writeback", 0),
            ("AnonPages", all - free),
            ("Mapped", 0),
            ("Shmem", 0),
            ("Slab", 0),
            ("CommitLimit", all),
            ("Committed_AS", all - free),
        ] {
            let space = 15 - name.len();
            writeln!(out, "{name}:{:space$}{size:>8} kB", "")?;
        }
        writeln!(out, "HugePages_Total:       0\nHugePages_Free:        0")?;
        writeln!(out, "Hugepagesize:       2048 kB")
    }

    fn write_activity(&self, out: &mut impl Write) -> fmt::Result {
        let (used, idle) = (self.used, self.steps - self.used.min(self.steps));
        let all = idle + self.steps * u64::from(self.processors - 1);
        writeln!(out, "cpu  {used} 0 0 {all} 0 0 0 0 0 0")?;
        for number in 0..self.processors {
            let (used, idle) = if number == 0 { (used, idle) } else { (0, self.steps) };
            writeln!(out, "cpu{number} {used} 0 0 {idle} 0 0 0 0 0 0")?;
        }
        writeln!(out, "intr 0\nctxt 0\nbtime 0\nprocesses 100\nprocs_running 1\nprocs_blocked 0")
    }

    /// Writes the line of `stat` with the figures that the server sees. The fields have numbers
    /// from 1, as in proc_pid_stat(5).
    fn write_stat(&self, real: &str, out: &mut impl Write) -> fmt::Result {
        let Some((name, fields)) = real.rsplit_once(") ") else { return out.write_str(real) };
        write!(out, "{name})")?;
        for (field, number) in fields.trim_end().split(' ').zip(3..) {
            match number {
                // The first thread's state: one that waits in the turn runs still for a moment.
                3 => write!(out, " R")?,
                // Page faults; time in the kernel, and of children; the kernel's wait; swap;
                // waits for disks; time for guests.
                10..=13 | 15..=17 | 35..=37 | 42..=44 => write!(out, " 0")?,
                14 => write!(out, " {}", self.used)?,
                22 => write!(out, " {}", self.steps - self.used.min(self.steps))?,
                23 => write!(out, " {}", SIZE * KIB)?,
                24 => write!(out, " {}", RESIDENT * KIB / PAGE)?,
                // The processor.
                39 => write!(out, " 0")?,
                _ => write!(out, " {field}")?,
            }
        }
        writeln!(out)
    }

    /// Writes `status` with the figures that the server sees.
    fn write_status(&self, real: &str, out: &mut impl Write) -> fmt::Result {
        for line in real.lines() {
            let Some((name, value)) = line.split_once(':') else {
                writeln!(out, "{line}")?;
                continue;
            };
            let size = match name {
                "VmPeak" | "VmSize" => Some(SIZE),
                "VmHWM" | "VmRSS" => Some(RESIDENT),
                "RssAnon" => Some(RESIDENT * 3 / 4),
                "RssFile" => Some(RESIDENT / 4),
                "VmData" => Some(SIZE / 2),
                "VmStk" | "VmPTE" => Some(128),
                "RssShmem" | "VmSwap" => Some(0),
                _ => None,
            };
            match (name, size) {
                ("State", _) => writeln!(out, "State:\tR (running)")?,
                (_, Some(size)) => writeln!(out, "{name}:\t{size:>8} kB")?,
                ("SigQ", _) => match value.split_once('/') {
                    Some((_, limit)) => writeln!(out, "SigQ:\t0/{limit}")?,
                    None => writeln!(out, "{line}")?,
                },
                ("Cpus_allowed", _) => self.write_mask(out)?,
                ("Cpus_allowed_list" | "Mems_allowed_list", _) => {
                    let last = if name.starts_with('C') { self.processors - 1 } else { 0 };
                    match last {
                        0 => writeln!(out, "{name}:\t0")?,
                        last => writeln!(out, "{name}:\t0-{last}")?,
                    }
                }
                ("Mems_allowed", _) => writeln!(out, "{name}:\t1")?,
                ("voluntary_ctxt_switches" | "nonvoluntary_ctxt_switches", _) => {
                    writeln!(out, "{name}:\t0")?;
                }
                // The host's processor decides them.
                ("Speculation_Store_Bypass" | "SpeculationIndirectBranch", _) => {
                    writeln!(out, "{name}:\tunknown")?;
                }
                ("x86_Thread_features" | "x86_Thread_features_locked" | "untag_mask", _) => {}
                _ => writeln!(out, "{line}")?,
            }
        }
        Ok(())
    }

    /// Writes the mask of all processors, in words of 32 bits, the highest first.
    fn write_mask(&self, out: &mut impl Write) -> fmt::Result {
        write!(out, "Cpus_allowed:\t")?;
        let words = self.processors.div_ceil(32);
        for word in (0..words).rev() {
            let bits = (self.processors - word * 32).min(32);
            let mask = u32::MAX >> (32 - bits);
            match word + 1 == words {
                true => write!(out, "{mask:x}")?,
                false => write!(out, ",{mask:08x}")?,
            }
        }
        writeln!(out)
    }
}

/// Writes a random UUID (RFC 9562, version 4).
fn write_uuid(mut bytes: [u8; 16], out: &mut impl Write) -> fmt::Result {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    for (place, byte) in bytes.iter().enumerate() {
        let dash = if [4, 6, 8, 10].contains(&place) { "-" } else { "" };
        write!(out, "{dash}{byte:02x}")?;
    }
    writeln!(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: SeenHost = SeenHost {
        processors: 34,
        memory: Memory { all: 8 << 30, free: 4 << 30 },
        steps: 100_250,
        used: 250,
    };

    fn text(file: HostFile, real: &str) -> String {
        let mut text = String::new();
        HOST.write(file, real, [0xff; 16], &mut text).expect("a string has room");
        text
    }

    #[test]
    fn files_are_known_by_their_names() {
        let named = |path: &str| HostFile::named(path.as_bytes(), 12);
        assert_eq!(named("/proc/meminfo"), Some(HostFile::Memory));
        for path in ["/proc/self/stat", "/proc/12/stat", "/proc/self/task/13/stat"] {
            assert_eq!(named(path), Some(HostFile::OwnStat), "{path}");
        }
        for path in ["/proc/13/stat", "/proc/self/stat/", "/proc/self/fd/stat", "/proc/self", "/"] {
            assert_eq!(named(path), None, "{path}");
        }
        assert_eq!(named("/proc/thread-self/status"), Some(HostFile::OwnStatus));
    }

    #[test]
    fn a_line_of_stat_keeps_what_the_process_is() {
        let fields: Vec<String> = (4..=52).map(|number| (number * 1000).to_string()).collect();
        let line = format!("12 (a) b) S {}\n", fields.join(" "));
        let seen = text(HostFile::OwnStat, &line);
        let (name, rest) = seen.trim_end().rsplit_once(") ").expect("a name");
        let rest: Vec<&str> = rest.split(' ').collect();
        assert_eq!((name, rest.len()), ("12 (a) b", 50));
        let field = |number: usize| rest[number - 3];
        assert_eq!([field(3), field(4), field(20), field(52)], ["R", "4000", "20000", "52000"]);
        assert_eq!([field(10), field(14), field(15)], ["0", "250", "0"]);
        assert_eq!([field(22), field(24), field(39)], ["100000", "4096", "0"]);
    }

    #[test]
    fn status_has_the_processors_and_the_memory_that_the_server_sees() {
        let real = "Name:\tx\nState:\tS (sleeping)\nVmRSS:\t    7 kB\nSigQ:\t3/9000\n\
                    Cpus_allowed:\t3\nCpus_allowed_list:\t0-1\nThreads:\t5\n";
        let seen = text(HostFile::OwnStatus, real);
        let expected = "Name:\tx\nState:\tR (running)\nVmRSS:\t   16384 kB\nSigQ:\t0/9000\n\
                        Cpus_allowed:\t3,ffffffff\nCpus_allowed_list:\t0-33\nThreads:\t5\n";
        assert_eq!(seen, expected);
    }

    #[test]
    fn files_of_the_host_are_whole() {
        assert_eq!(text(HostFile::Processors, "").matches("processor\t: ").count(), 34);
        assert_eq!(text(HostFile::ProcessorNumbers, ""), "0-33\n");
        assert!(
            text(HostFile::Memory, "")
                .starts_with("MemTotal:        8388608 kB\nMemFree:         4194304 kB\n")
        );
        assert_eq!(text(HostFile::Uptime, ""), "1002.50 1002.50\n");
        assert_eq!(text(HostFile::Activity, "").matches("\ncpu").count(), 34);
        assert_eq!(text(HostFile::Uuid, ""), "ffffffff-ffff-4fff-bfff-ffffffffffff\n");
    }
}
