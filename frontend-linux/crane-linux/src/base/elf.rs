//! Decides whether a program can be interposed: dynamically linked, for this machine, without
//! set-id bits.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A program that can be run under the preload library.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Program {
    /// Its path, with all links resolved.
    pub(crate) path: PathBuf,
    /// The file that the kernel really runs: the program, or the interpreter of a script.
    pub(crate) binary: PathBuf,
    /// The dynamic loader that it asks for; none: it is linked statically.
    pub(crate) loader: Option<PathBuf>,
}

/// Why a program cannot be replicated.
#[derive(Debug)]
pub(crate) enum ProgramError {
    /// No file of that name.
    Missing(String),
    /// It is there, and cannot be read or run.
    Unusable(PathBuf, String),
    /// It does not load libraries, so none can be put before its own, and there is no floor.
    Static(PathBuf),
    /// The interpreter of a script does not load libraries.
    StaticInterpreter(PathBuf),
    /// The loader ignores preloaded libraries for it.
    SetId(PathBuf),
}

impl fmt::Display for ProgramError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => {
                write!(f, "no such program: {name} (looked at the path, or along PATH)")
            }
            Self::Unusable(path, why) => {
                write!(f, "{} cannot be run: {why}", path.display())
            }
            Self::Static(path) => write!(
                f,
                "{} is statically linked: its calls are seen only below libc; leave \
                 --floor=never out, on hosts with Linux 5.11 or later, or use a dynamically linked \
                 build of it",
                path.display()
            ),
            Self::StaticInterpreter(path) => write!(
                f,
                "{}, which runs the script, is statically linked: use a dynamically linked build \
                 of it",
                path.display()
            ),
            Self::SetId(path) => write!(
                f,
                "{} is setuid or setgid: the loader keeps other libraries out of it, so its calls \
                 cannot be interposed; use a copy without these bits",
                path.display()
            ),
        }
    }
}

impl std::error::Error for ProgramError {}

/// Finds a program by the name that a shell would take, and checks it for a group with a floor, or
/// without.
///
/// # Errors
/// Returns [`ProgramError`], which names the program.
pub(crate) fn find(name: &str, has_floor: bool) -> Result<Program, ProgramError> {
    let path = locate(name).ok_or_else(|| ProgramError::Missing(name.to_string()))?;
    let path = path
        .canonicalize()
        .map_err(|error| ProgramError::Unusable(path.clone(), error.to_string()))?;
    let mut binary = path.clone();
    // The kernel follows interpreters of interpreters, up to four.
    for _ in 0..5 {
        let head = head_of(&binary)?;
        if let Some(interpreter) = interpreter_of_script(&head) {
            binary = interpreter;
            continue;
        }
        return match loader_of(&head) {
            Elf::Dynamic(loader) => Ok(Program { path, binary, loader: Some(loader) }),
            Elf::Static if binary != path => Err(ProgramError::StaticInterpreter(binary)),
            Elf::Static if has_floor => Ok(Program { path, binary, loader: None }),
            Elf::Static => Err(ProgramError::Static(binary)),
            Elf::Unknown(why) => Err(ProgramError::Unusable(binary, why.to_string())),
        };
    }
    Err(ProgramError::Unusable(path, "its interpreters lead in a circle".to_string()))
}

/// Returns whether the kernel runs this very file, without a loader or an interpreter.
pub(crate) fn is_static(path: &Path) -> bool {
    head_of(path)
        .is_ok_and(|head| interpreter_of_script(&head).is_none() && loader_of(&head) == Elf::Static)
}

fn locate(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Path::new(name).exists().then(|| PathBuf::from(name));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| path.is_file())
}

fn head_of(path: &Path) -> Result<Vec<u8>, ProgramError> {
    let unusable =
        |error: std::io::Error| ProgramError::Unusable(path.to_path_buf(), error.to_string());
    let file = File::open(path).map_err(unusable)?;
    let about = file.metadata().map_err(unusable)?;
    if !about.is_file() || about.mode() & 0o111 == 0 {
        let why = "it is not an executable file".to_string();
        return Err(ProgramError::Unusable(path.to_path_buf(), why));
    }
    if about.mode() & 0o6000 != 0 {
        return Err(ProgramError::SetId(path.to_path_buf()));
    }
    let mut head = Vec::new();
    file.take(64 * 1024).read_to_end(&mut head).map_err(unusable)?;
    Ok(head)
}

fn interpreter_of_script(head: &[u8]) -> Option<PathBuf> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = std::str::from_utf8(line).ok()?.split_whitespace().next()?;
    Some(PathBuf::from(name))
}

#[derive(PartialEq, Eq, Debug)]
enum Elf {
    Dynamic(PathBuf),
    Static,
    Unknown(&'static str),
}

const PT_INTERP: u32 = 3;
const MACHINE_X86_64: u16 = 62;

/// A program header: its kind, and the part of the file that it describes.
struct ProgramHeader {
    kind: u32,
    offset: u64,
    length: u64,
}

/// Reads a number of at most 8 bytes.
fn number(head: &[u8], offset: usize, bytes: usize) -> Option<u64> {
    let mut value = [0; 8];
    value[..bytes].copy_from_slice(head.get(offset..offset.checked_add(bytes)?)?);
    Some(u64::from_le_bytes(value))
}

/// Returns the program headers (System V ABI, "Program Loading") as far as they are complete, or
/// `None` if the file's own header is not.
fn program_headers(head: &[u8]) -> Option<Vec<ProgramHeader>> {
    let (start, size) = (number(head, 32, 8)?, number(head, 54, 2)?);
    let one = |index: u64| {
        let at = usize::try_from(index.checked_mul(size)?.checked_add(start)?).ok()?;
        Some(ProgramHeader {
            kind: number(head, at, 4)? as u32,
            offset: number(head, at.checked_add(8)?, 8)?,
            length: number(head, at.checked_add(32)?, 8)?,
        })
    };
    Some((0..number(head, 56, 2)?).map_while(one).collect())
}

/// Returns the part of the file that a header describes.
fn part_of<'a>(head: &'a [u8], header: &ProgramHeader) -> Option<&'a [u8]> {
    let start = usize::try_from(header.offset).ok()?;
    head.get(start..start.checked_add(usize::try_from(header.length).ok()?)?)
}

/// Returns the way in which a program is loaded.
fn loader_of(head: &[u8]) -> Elf {
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Elf::Unknown("it is neither a 64-bit ELF program nor a script");
    }
    if number(head, 18, 2) != Some(u64::from(MACHINE_X86_64)) {
        return Elf::Unknown("it is not a program for x86-64");
    }
    let Some(headers) = program_headers(head) else {
        return Elf::Unknown("its header is cut short");
    };
    let Some(header) = headers.iter().find(|header| header.kind == PT_INTERP) else {
        return Elf::Static;
    };
    match part_of(head, header).and_then(|name| std::str::from_utf8(name).ok()) {
        Some(name) => Elf::Dynamic(PathBuf::from(name.trim_end_matches('\0'))),
        None => Elf::Unknown("its interpreter's name is out of reach"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_dynamic_and_has_a_loader() {
        let shell = find("/bin/sh", false).unwrap();
        assert!(shell.loader.as_ref().unwrap().to_string_lossy().contains("ld-linux"));
        assert_eq!(find("sh", false).unwrap().binary, shell.binary);
    }

    #[test]
    fn what_cannot_run_is_named() {
        let missing = find("no-such-program-here", false).unwrap_err().to_string();
        assert!(missing.contains("no-such-program-here"), "{missing}");
        let file = find("/etc/passwd", false).unwrap_err().to_string();
        assert!(file.contains("not an executable"), "{file}");
    }

    #[test]
    fn a_program_without_interpreter_is_static() {
        let mut head = vec![0; 128];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18] = MACHINE_X86_64 as u8;
        head[32] = 64;
        head[54] = 56;
        head[56] = 1;
        assert_eq!(loader_of(&head), Elf::Static);
        head[64] = PT_INTERP as u8;
        head[72..80].copy_from_slice(&u64::MAX.to_le_bytes());
        head[96] = 1;
        assert!(matches!(loader_of(&head), Elf::Unknown(_)));
        assert!(matches!(loader_of(b"text"), Elf::Unknown(_)));
    }

    #[test]
    fn a_script_names_its_interpreter() {
        let line = b"#! /usr/bin/env python3\nprint(1)";
        assert_eq!(interpreter_of_script(line), Some(PathBuf::from("/usr/bin/env")));
        assert_eq!(interpreter_of_script(b"\x7fELF"), None);
    }
}
