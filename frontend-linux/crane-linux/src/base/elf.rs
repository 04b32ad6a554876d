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
    /// The dynamic loader that it asks for.
    pub(crate) loader: PathBuf,
}

/// Why a program cannot be replicated.
#[derive(Debug)]
pub(crate) enum ProgramError {
    /// No file of that name.
    Missing(String),
    /// It is there, and cannot be read or run.
    Unusable(PathBuf, String),
    /// It does not load libraries, so none can be put before its own.
    Static(PathBuf),
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
                "{} is statically linked: its calls cannot be interposed; use a dynamically linked \
                 build of it",
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

/// Finds a program by the name that a shell would take, and checks it.
///
/// # Errors
/// Returns [`ProgramError`], which names the program.
pub(crate) fn find(name: &str) -> Result<Program, ProgramError> {
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
            Elf::Dynamic(loader) => Ok(Program { path, binary, loader }),
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

/// Reads the program headers (System V ABI, "Program Loading").
fn loader_of(head: &[u8]) -> Elf {
    let number = |offset: usize, bytes: usize| -> Option<u64> {
        let mut value = [0; 8];
        value[..bytes].copy_from_slice(head.get(offset..offset.checked_add(bytes)?)?);
        Some(u64::from_le_bytes(value))
    };
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return Elf::Unknown("it is neither a 64-bit ELF program nor a script");
    }
    let machine = number(18, 2);
    if machine != Some(u64::from(MACHINE_X86_64)) {
        return Elf::Unknown("it is not a program for x86-64");
    }
    let (Some(start), Some(size), Some(count)) = (number(32, 8), number(54, 2), number(56, 2))
    else {
        return Elf::Unknown("its header is cut short");
    };
    for index in 0..count {
        let Some(at) = index.checked_mul(size).and_then(|at| at.checked_add(start)) else { break };
        let Ok(at) = usize::try_from(at) else { break };
        if number(at, 4) != Some(u64::from(PT_INTERP)) {
            continue;
        }
        let (Some(offset), Some(length)) = (number(at + 8, 8), number(at + 32, 8)) else { break };
        let name = (offset as usize)
            .checked_add(length as usize)
            .and_then(|end| head.get(offset as usize..end))
            .and_then(|name| std::str::from_utf8(name).ok());
        let Some(name) = name else {
            return Elf::Unknown("its interpreter's name is out of reach");
        };
        return Elf::Dynamic(PathBuf::from(name.trim_end_matches('\0')));
    }
    Elf::Static
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_is_dynamic_and_has_a_loader() {
        let shell = find("/bin/sh").unwrap();
        assert!(shell.loader.to_string_lossy().contains("ld-linux"));
        assert_eq!(find("sh").unwrap().binary, shell.binary);
    }

    #[test]
    fn what_cannot_run_is_named() {
        let missing = find("no-such-program-here").unwrap_err().to_string();
        assert!(missing.contains("no-such-program-here"), "{missing}");
        let file = find("/etc/passwd").unwrap_err().to_string();
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
