//! The parts of a program's file (elf(5)) that are mapped, and where.

use std::ffi::{CStr, c_int};
use std::ptr;

use crane_shm::sys;
use libc::{Elf64_Ehdr, Elf64_Phdr};

use crate::bases::USER_END;

const PAGE: usize = 4096;
/// The program headers that are read: more than any linker makes.
const HEADERS_MAX: usize = 64;
/// Kinds of programs: at fixed addresses, or anywhere.
const FIXED: u16 = 2;
const ANYWHERE: u16 = 3;
const X86_64: u16 = 62;

/// A program that is mapped.
pub(super) struct MappedProgram {
    /// Its first instruction.
    pub(super) entry: usize,
    /// Its program headers.
    pub(super) headers: usize,
    pub(super) header_count: usize,
}

/// A program's file, and its headers.
pub(super) struct Layout {
    file: c_int,
    header: Elf64_Ehdr,
    parts: Vec<Elf64_Phdr>,
}

impl Layout {
    /// Reads the headers of a program.
    ///
    /// # Errors
    /// Returns why it is none that can be mapped.
    pub(super) fn read(path: &CStr) -> Result<Self, String> {
        let file = open(path)?;
        // SAFETY: all-zero bytes are a header.
        let mut header: Elf64_Ehdr = unsafe { std::mem::zeroed() };
        read_at(file, (&raw mut header).cast(), size_of::<Elf64_Ehdr>(), 0)?;
        let is_program = header.e_ident.starts_with(b"\x7fELF\x02\x01")
            && header.e_machine == X86_64
            && [FIXED, ANYWHERE].contains(&header.e_type)
            && usize::from(header.e_phentsize) == size_of::<Elf64_Phdr>();
        let count = usize::from(header.e_phnum);
        if !is_program || count > HEADERS_MAX {
            return Err(format!("{path:?} is no program for x86-64"));
        }
        // SAFETY: as above.
        let mut parts: Vec<Elf64_Phdr> = vec![unsafe { std::mem::zeroed() }; count];
        let bytes = count * size_of::<Elf64_Phdr>();
        read_at(file, parts.as_mut_ptr().cast(), bytes, header.e_phoff as usize)?;
        let is_loaded = |part: &&Elf64_Phdr| part.p_type == libc::PT_LOAD;
        if !parts.iter().filter(is_loaded).all(is_sound) {
            return Err(format!("the headers of {path:?} contradict each other"));
        }
        Ok(Self { file, header, parts })
    }

    fn loaded(&self) -> impl Iterator<Item = &Elf64_Phdr> {
        self.parts.iter().filter(|part| part.p_type == libc::PT_LOAD && part.p_memsz > 0)
    }

    /// Maps the program.
    ///
    /// # Errors
    /// Returns the kernel's refusal.
    pub(super) fn map(self) -> Result<MappedProgram, String> {
        let first = self.loaded().map(|part| down(part.p_vaddr as usize)).min();
        let end = self.loaded().map(|part| up((part.p_vaddr + part.p_memsz) as usize)).max();
        let (first, end) = first.zip(end).ok_or("the program has no parts")?;
        let is_fixed = self.header.e_type == FIXED;
        // The whole range, so that nothing else lies in it.
        let (wanted, fixed) = if is_fixed { (first, libc::MAP_FIXED_NOREPLACE) } else { (0, 0) };
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | fixed;
        let base = map(wanted, end - first, libc::PROT_NONE, flags, -1, 0)?;
        let shift = base.wrapping_sub(first);
        for part in self.loaded() {
            self.map_part(part, shift)?;
        }
        let at = |address: u64| (address as usize).wrapping_add(shift);
        let headers = self.loaded().find(|part| {
            (part.p_offset..part.p_offset + part.p_filesz).contains(&self.header.e_phoff)
        });
        let headers = headers.ok_or("the program does not load its own headers")?;
        let headers = at(headers.p_vaddr + self.header.e_phoff - headers.p_offset);
        // SAFETY: the descriptor is this function's own.
        unsafe { sys::syscall(libc::SYS_close, [self.file as usize, 0, 0, 0, 0, 0]) };
        Ok(MappedProgram {
            entry: at(self.header.e_entry),
            headers,
            header_count: self.parts.len(),
        })
    }

    fn map_part(&self, part: &Elf64_Phdr, shift: usize) -> Result<(), String> {
        let start = (part.p_vaddr as usize).wrapping_add(shift);
        let (of_file, of_memory) = (start + part.p_filesz as usize, start + part.p_memsz as usize);
        let is = |bit: u32| part.p_flags & bit != 0;
        let protection = [
            (libc::PF_R, libc::PROT_READ),
            (libc::PF_W, libc::PROT_WRITE),
            (libc::PF_X, libc::PROT_EXEC),
        ];
        let protection = protection
            .into_iter()
            .filter(|(bit, _)| is(*bit))
            .fold(0, |all, (_, protection)| all | protection);
        let flags = libc::MAP_PRIVATE | libc::MAP_FIXED;
        let mapped = up(of_file);
        if part.p_filesz > 0 {
            let (first, offset) = (down(start), down(part.p_offset as usize));
            map(first, mapped - first, protection, flags, self.file, offset)?;
        }
        if of_memory > of_file {
            if part.p_filesz > 0 && is(libc::PF_W) {
                // SAFETY: the rest of the part's last page, which is its own copy.
                unsafe { ptr::write_bytes(of_file as *mut u8, 0, mapped - of_file) };
            }
            let rest = if part.p_filesz > 0 { mapped } else { down(start) };
            if up(of_memory) > rest {
                let flags = flags | libc::MAP_ANONYMOUS;
                map(rest, up(of_memory) - rest, protection, flags, -1, 0)?;
            }
        }
        Ok(())
    }
}

/// Returns whether a part lies in the addresses of programs, and where its pages are in the file.
fn is_sound(part: &Elf64_Phdr) -> bool {
    let is_below =
        |start: u64, bytes: u64| start.checked_add(bytes).is_some_and(|end| end < USER_END as u64);
    is_below(part.p_vaddr, part.p_memsz)
        && is_below(part.p_offset, part.p_filesz)
        && part.p_filesz <= part.p_memsz
        && part.p_vaddr % PAGE as u64 == part.p_offset % PAGE as u64
}

fn down(address: usize) -> usize {
    address & !(PAGE - 1)
}

fn up(address: usize) -> usize {
    down(address + PAGE - 1)
}

fn read_at(file: c_int, to: *mut u8, bytes: usize, offset: usize) -> Result<(), String> {
    let arguments = [file as usize, to.addr(), bytes, offset, 0, 0];
    // SAFETY: a place of ours, of this length.
    match sys::checked(unsafe { sys::syscall(libc::SYS_pread64, arguments) }) {
        Ok(got) if got == bytes => Ok(()),
        Ok(_) => Err("the program's file ends within its headers".to_string()),
        Err(error) => Err(format!("the program's file: error {error}")),
    }
}

fn map(
    start: usize,
    length: usize,
    protection: c_int,
    flags: c_int,
    file: c_int,
    offset: usize,
) -> Result<usize, String> {
    let arguments = [start, length, protection as usize, flags as usize, file as usize, offset];
    // SAFETY: a new mapping, or one in a range that was mapped for the program.
    sys::checked(unsafe { sys::syscall(libc::SYS_mmap, arguments) }).map_err(|error| {
        format!("the program's {length} bytes at {start:#x} cannot be mapped: error {error}")
    })
}

/// Opens a file without a hook.
fn open(path: &CStr) -> Result<c_int, String> {
    let arguments = [path.as_ptr().addr(), libc::O_CLOEXEC as usize, 0, 0, 0, 0];
    // SAFETY: a string that ends with a zero byte.
    let opened = sys::checked(unsafe { sys::syscall(libc::SYS_open, arguments) });
    opened.map(|file| file as c_int).map_err(|error| format!("{path:?}: error {error}"))
}
