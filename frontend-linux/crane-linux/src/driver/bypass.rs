//! Calls of the server that no hook sees.

use crane_shm::BypassKind;

use super::rooms::{Finding, FindingKind};
use super::watch::remedy as remedy_of_waiting;
use super::{Bypassed, Driver, Host};

impl<H: Host> Driver<H> {
    /// Takes a call of the program that no hook saw. It is reported, or ends the program if it was
    /// refused.
    pub(super) fn on_bypassed(&mut self, bypassed: &Bypassed) {
        if self.server.run.is_none() || self.server.stopped_for.is_some() {
            return;
        }
        let text = describe(bypassed);
        if bypassed.refused {
            return self.refuse_program(&text);
        }
        self.last_error = Some(text.clone());
        let kind = FindingKind::Bypassed(bypassed.number, bypassed.address);
        self.find(kind, Finding { text, is_fault: false });
    }
}

/// Describes a call that bypasses the hooks, for an operator.
fn describe(bypassed: &Bypassed) -> String {
    let Bypassed { call, number, place, caller, refused, .. } = bypassed;
    let place = place.as_deref().unwrap_or("a place outside of its files");
    let caller = caller.as_ref().map_or(String::new(), |caller| format!(", called by {caller}"));
    let remedy = remedy(call, bypassed.by_libc);
    let number = match *number {
        BypassKind::RDTSC | BypassKind::RDTSCP => String::new(),
        number => format!(" (number {number})"),
    };
    if *refused {
        return format!(
            "--strict refuses a call that crane does not see: {call}{number} at \
             {place}{caller}; {remedy}, or leave --strict out"
        );
    }
    format!(
        "a call bypasses crane: {call}{number} at {place}{caller}; the server makes it \
         unseen, and replicas may differ by it: {remedy}"
    )
}

/// Returns the remedy for a call that bypasses the hooks. `by_libc` is true if a function of libc
/// makes the call.
fn remedy(call: &str, by_libc: bool) -> &'static str {
    match call {
        "statfs" | "fstatfs" | "mincore" => {
            "it asks how this host is: leave such figures out of what clients get"
        }
        "fork" | "vfork" | "clone" | "clone3" => {
            "let it serve by threads that pthread_create makes"
        }
        "wait4" | "waitid" => {
            "a child process ends at another moment on each replica: let it work by threads"
        }
        "setitimer" | "alarm" | "timer_create" | "timer_settime" | "timerfd_create"
        | "timerfd_settime" => "turn its timers off, or let it wait with a timeout instead",
        "prctl" | "seccomp" => {
            "turn its own filter of system calls off (its cell has one): crane sees no calls \
             behind it"
        }
        "rdtsc" | "rdtscp" => {
            "leave --floor=never out on all hosts (Linux 5.11 or later): then it reads agreed time"
        }
        "sendto" | "sendmmsg" => "give it addresses instead of names: nobody answers in its cell",
        "futex" => remedy_of_waiting(call),
        _ if by_libc => remedy_of_waiting(call),
        _ => {
            "use a build that makes its calls by libc, where crane sees them (with a floor, crane \
             answers those that it has hooks for: see --floor)"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bypassed(call: &str) -> Bypassed {
        Bypassed {
            call: call.into(),
            number: 137,
            address: 0x1234,
            place: Some("statfs in libc.so.6".into()),
            by_libc: true,
            caller: Some("report in server".into()),
            refused: false,
        }
    }

    #[test]
    fn a_call_is_described_with_number_symbol_library_and_remedy() {
        let text = describe(&bypassed("statfs"));
        for part in ["statfs (number 137)", "statfs in libc.so.6, called by report in server"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(text.ends_with("leave such figures out of what clients get"), "{text}");
        assert!(describe(&bypassed("flock")).ends_with(remedy_of_waiting("flock")));
        let inline = Bypassed { by_libc: false, ..bypassed("flock") };
        assert!(describe(&inline).contains("by libc, where crane sees them"));
    }

    #[test]
    fn an_instruction_that_is_no_call_has_no_number() {
        let text = describe(&Bypassed { number: BypassKind::RDTSC, ..bypassed("rdtsc") });
        assert!(text.contains(": rdtsc at statfs in libc.so.6, called by"), "{text}");
        assert!(text.ends_with("then it reads agreed time"), "{text}");
    }

    #[test]
    fn a_call_without_a_place_and_a_refused_one_are_described_too() {
        let unknown = Bypassed { place: None, caller: None, ..bypassed("futex") };
        assert!(describe(&unknown).contains("at a place outside of its files; the server"));
        let refused = Bypassed { refused: true, ..bypassed("fork") };
        let text = describe(&refused);
        assert!(text.starts_with("--strict refuses") && text.ends_with("leave --strict out"));
    }
}
