//! Instructions that may be moved to another place: whether they are known, and end on a boundary,
//! and whether a branch leads between them. No other file of this library looks at a program's
//! machine code.
//!
//! Only forms that compilers put behind a read of the time stamp are known (Intel's manual, volume
//! 2, chapter 2 and appendix A). The rest stays where it is.

/// Some instructions in a row.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Moved {
    /// Their bytes in all.
    pub length: usize,
    /// The places of operands that are relative to the instructions' own place, as far as there
    /// are any.
    pub relative: [Option<usize>; 3],
    /// The places where instructions begin; 0 also for what is no instruction.
    pub starts: [usize; 3],
}

/// Returns the first instructions of `code` that have `least` bytes in all, if all are known.
pub(crate) fn movable(code: &[u8], least: usize) -> Option<Moved> {
    let mut moved = Moved { length: 0, relative: [None; 3], starts: [0; 3] };
    for number in 0..moved.starts.len() {
        let one = instruction(&code[moved.length..])?;
        moved.starts[number] = moved.length;
        moved.relative[number] = one.relative.map(|place| moved.length + place);
        moved.length += one.length;
        if moved.length >= least {
            return Some(moved);
        }
    }
    None
}

struct Instruction {
    length: usize,
    relative: Option<usize>,
}

/// Returns the first instruction, if it is known.
fn instruction(code: &[u8]) -> Option<Instruction> {
    let rex = code.first().copied().filter(|byte| byte & 0xf0 == 0x40);
    let is_wide = rex.is_some_and(|rex| rex & 8 != 0);
    let mut at = usize::from(rex.is_some());
    let opcode = *code.get(at)?;
    at += 1;
    let immediate = match opcode {
        // add, or, and, sub, xor, cmp, test, mov, lea, movsxd, shifts by 1 or cl.
        0x01
        | 0x03
        | 0x09
        | 0x0b
        | 0x21
        | 0x23
        | 0x29
        | 0x2b
        | 0x31
        | 0x33
        | 0x39
        | 0x3b
        | 0x63
        | 0x85
        | 0x88..=0x8b
        | 0x8d
        | 0xd1
        | 0xd3 => 0,
        // Arithmetic, shifts and imul by a byte.
        0x83 | 0xc1 | 0x6b => 1,
        0x81 | 0x69 | 0xc7 => 4,
        0x0f => {
            let second = *code.get(at)?;
            at += 1;
            // imul, movzx, movsx, nop.
            matches!(second, 0xaf | 0xb6 | 0xb7 | 0xbe | 0xbf | 0x1f).then_some(0)?
        }
        // Without operands in memory: push, pop, nop, cdqe, cdq; mov of a number.
        0x50..=0x5f | 0x90 | 0x98 | 0x99 => {
            return Some(Instruction { length: at, relative: None });
        }
        0xb8..=0xbf => {
            let length = at + if is_wide { 8 } else { 4 };
            return (code.len() >= length).then_some(Instruction { length, relative: None });
        }
        _ => return None,
    };
    let form = *code.get(at)?;
    at += 1;
    let (kind, register) = (form >> 6, form & 7);
    let has_index = kind != 3 && register == 4;
    let has_no_base = has_index && code.get(at)? & 7 == 5;
    at += usize::from(has_index);
    let is_relative = kind == 0 && register == 5;
    let relative = is_relative.then_some(at);
    at += match kind {
        0 if is_relative || has_no_base => 4,
        1 => 1,
        2 => 4,
        _ => 0,
    };
    at += immediate;
    (code.len() >= at).then_some(Instruction { length: at, relative })
}

/// Returns whether a branch in `code` may lead to this place of it. Bytes that only look like one
/// count as well.
pub(crate) fn is_branched_to(code: &[u8], place: usize) -> bool {
    /// Farther than a short branch leads.
    const NEAR: usize = 0x90;
    let near = place.saturating_sub(NEAR)..(place + NEAR).min(code.len());
    let is_short = near.skip(1).any(|at| {
        let branches = matches!(code[at - 1], 0x70..=0x7f | 0xe0..=0xe3 | 0xeb);
        branches && (at + 1).checked_add_signed(code[at].cast_signed().into()) == Some(place)
    });
    // The distance of a long branch is its last operand.
    is_short
        || code.windows(4).enumerate().any(|(at, distance)| {
            let distance = u32::from_le_bytes([distance[0], distance[1], distance[2], distance[3]]);
            let to = (at as u32 + 4).wrapping_add(distance);
            to == place as u32 && is_long_branch(&code[..at])
        })
}

/// Returns whether code ends with the first bytes of a call, or of a long branch.
fn is_long_branch(code: &[u8]) -> bool {
    matches!(code, [.., 0xe8 | 0xe9] | [.., 0x0f, 0x80..=0x8f])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(code: &[u8]) -> Option<(usize, Option<usize>)> {
        movable(code, 3).map(|moved| (moved.length, moved.relative[0]))
    }

    #[test]
    fn known_instructions_have_their_lengths() {
        // lea rdx, [rip + …]; shl rdx, 32; mov rsi, rax; mov rax, [r14 + 0x100c0]; and eax, 0x7f.
        assert_eq!(moved(&[0x48, 0x8d, 0x15, 1, 2, 3, 4, 0x90]), Some((7, Some(3))));
        assert_eq!(moved(&[0x48, 0xc1, 0xe2, 0x20]), Some((4, None)));
        assert_eq!(moved(&[0x48, 0x89, 0xc6]), Some((3, None)));
        assert_eq!(moved(&[0x4d, 0x8b, 0xae, 0xc0, 0, 1, 0]), Some((7, None)));
        assert_eq!(moved(&[0x83, 0xe0, 0x7f]), Some((3, None)));
        // mov [r12 + 8], rax has an index byte, and mov ecx, [r12 + …] too; add rcx, [rbx * 8 + …].
        assert_eq!(moved(&[0x49, 0x89, 0x44, 0x24, 0x08]), Some((5, None)));
        assert_eq!(moved(&[0x48, 0x03, 0x0c, 0xdd, 1, 2, 3, 4]), Some((8, None)));
        // cmp dword [rip + …], 5: the operand is not the last.
        assert_eq!(moved(&[0x83, 0x3d, 1, 2, 3, 4, 5]), Some((7, Some(2))));
        assert_eq!(moved(&[0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8]), Some((10, None)));
        // Two short ones, and the operand of the second.
        let two = movable(&[0x90, 0x8b, 0x05, 1, 2, 3, 4], 3).expect("both are known");
        assert_eq!((two.length, two.relative), (7, [None, Some(3), None]));
        assert_eq!(two.starts, [0, 1, 0]);
    }

    #[test]
    fn branches_calls_and_what_is_cut_stay() {
        for code in [&[0xe8, 0, 0, 0, 0][..], &[0x75, 5, 0x90], &[0xc3], &[0x0f, 0x31], &[0x48]] {
            assert_eq!(moved(code), None, "{code:x?}");
        }
        assert_eq!(moved(&[0x48, 0x8d, 0x15, 1, 2, 3]), None);
        assert_eq!(moved(&[0x90, 0xc3]), None);
    }

    #[test]
    fn branches_are_found() {
        let mut code = vec![0x90; 4096];
        assert!(!is_branched_to(&code, 2002));
        // jne to 2002 from 1990, and to 2003.
        (code[1990], code[1991]) = (0x75, 10);
        assert!(is_branched_to(&code, 2002) && !is_branched_to(&code, 2001));
        code[1991] = 11;
        assert!(!is_branched_to(&code, 2002));
        // Far away: jmp, jne, and the same distance behind another byte.
        let distance = (2002_i32 - 4005).to_le_bytes();
        code[4001..4005].copy_from_slice(&distance);
        assert!(!is_branched_to(&code, 2002));
        code[4000] = 0xe9;
        assert!(is_branched_to(&code, 2002) && !is_branched_to(&code, 2001));
        code[4000] = 0x85;
        assert!(!is_branched_to(&code, 2002));
        code[3999] = 0x0f;
        assert!(is_branched_to(&code, 2002));
    }
}
