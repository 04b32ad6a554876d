//! Names of places in a program: the file that is mapped at an address, and its symbol there.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use object::{Object, ObjectSegment, ObjectSymbol, SymbolKind};
use serde::{Deserialize, Serialize};

/// The length of the longest file that is searched for symbols.
const IMAGE_BYTES_MAX: u64 = 512 << 20;
/// The name of the kernel's own library, which has no file.
const VDSO: &str = "[vdso]";
/// The number of mappings of a process that are kept, which are its first ones.
const MAPPINGS_MAX: usize = 4096;

/// The executable mappings of a process, which may be gone or belong to another host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Maps(Vec<MappedCode>);

/// One executable mapping of a file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(crate) struct MappedCode {
    start: u64,
    end: u64,
    offset: u64,
    /// The file.
    pub(crate) path: String,
}

impl Maps {
    /// Reads the mappings of a running process.
    ///
    /// # Errors
    /// Returns the system's error: the process may be gone.
    pub(crate) fn read(process: u32) -> io::Result<Self> {
        let text = fs::read_to_string(format!("/proc/{process}/maps"))?;
        Ok(Self(text.lines().filter_map(MappedCode::parse).take(MAPPINGS_MAX).collect()))
    }

    /// Returns the mapping of an address.
    pub(crate) fn at(&self, address: u64) -> Option<&MappedCode> {
        self.0.iter().find(|mapping| (mapping.start..mapping.end).contains(&address))
    }

    /// Names an address. The process may be gone, because its cell saw the files of this host.
    pub(crate) fn place(&self, address: u64) -> Option<String> {
        self.at(address).map(|mapping| mapping.name_place(Path::new("/"), address))
    }

    /// Returns whether these may be the mappings of a process.
    pub(crate) fn is_sound(&self) -> bool {
        self.0.len() <= MAPPINGS_MAX
    }
}

impl MappedCode {
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.split_whitespace();
        let (start, end) = fields.next()?.split_once('-')?;
        let flags = fields.next()?;
        let offset = fields.next()?;
        let path = fields.nth(2)?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let is_named = path.starts_with('/') || path == VDSO;
        (flags.contains('x') && is_named).then_some(())?;
        Some(Self {
            start: number(start)?,
            end: number(end)?,
            offset: number(offset)?,
            path: path.to_string(),
        })
    }

    /// Names an address in the mapping by its symbol or offset, and by its file, which is found
    /// below `root`.
    pub(crate) fn name_place(&self, root: &Path, address: u64) -> String {
        let file = self.path.rsplit('/').next().unwrap_or(&self.path);
        let offset = address.wrapping_sub(self.start).wrapping_add(self.offset);
        match self.symbol(root, offset) {
            Some(symbol) => format!("{symbol} in {file}"),
            None => format!("{offset:#x} in {file}"),
        }
    }

    fn symbol(&self, root: &Path, offset: u64) -> Option<String> {
        let path = root.join(self.path.trim_start_matches('/'));
        let found = fs::metadata(&path).ok()?;
        if !found.is_file() || found.len() > IMAGE_BYTES_MAX {
            return None;
        }
        let mut bytes = Vec::new();
        fs::File::open(path).ok()?.take(IMAGE_BYTES_MAX).read_to_end(&mut bytes).ok()?;
        let image = object::File::parse(&*bytes).ok()?;
        let address = image.segments().find_map(|segment| {
            let (start, length) = segment.file_range();
            let within = offset.checked_sub(start).filter(|within| *within < length)?;
            segment.address().checked_add(within)
        })?;
        let symbols = image.symbols().chain(image.dynamic_symbols());
        let before = symbols.filter(|symbol| {
            symbol.kind() == SymbolKind::Text
                && symbol.address() <= address
                && !symbol.is_undefined()
        });
        let nearest = before.max_by_key(ObjectSymbol::address)?;
        let inside = nearest.size() == 0 || address - nearest.address() < nearest.size();
        inside.then(|| nearest.name().ok().map(str::to_string))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_is_a_place() {
        let text = "7f00-7f80 r-xp 00001000 fe:01 12 /usr/lib/some.so\n\
                    7f80-7fa0 rw-p 00002000 fe:01 12 /usr/lib/some.so\n\
                    7fb0-7fc0 r-xp 00000000 00:00 0 [vdso]\n";
        let maps = Maps(text.lines().filter_map(MappedCode::parse).collect());
        assert_eq!(maps.place(0x7f10).as_deref(), Some("0x1010 in some.so"));
        assert_eq!(maps.place(0x7f80), None);
        assert_eq!(maps.place(0x7fb1).as_deref(), Some("0x1 in [vdso]"));
    }
}
