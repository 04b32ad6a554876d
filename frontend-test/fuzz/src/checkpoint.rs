//! The index of a checkpoint that another replica sends.

use std::fs;
use std::path::Path;

use crane_linux::decoders::{Assembly, Index};

use crate::forge::{CHECKED_HEADER_BYTES, checked_file, input, pieces};
use crate::scratch::Scratch;

/// Reads an index, which is refused, or has a directory made from it that is the only thing made.
pub(crate) fn index(bytes: &[u8]) {
    made_from(bytes);
    made_from(&forged(bytes));
    for piece in pieces(bytes) {
        made_from(&forged(piece.bytes));
    }
}

fn made_from(bytes: &[u8]) {
    let index = match Index::decode(bytes) {
        Ok(index) => index,
        Err(why) => return assert!(!why.is_empty()),
    };
    let again = index.encode().expect("it is no longer than before");
    assert_eq!(Index::decode(&again).as_ref(), Ok(&index));
    let scratch = Scratch::new("index");
    let place = scratch.0.join("made");
    // The system may refuse a name or a size.
    if let Ok(mut assembly) = Assembly::begin(index, &place) {
        let missing = assembly.missing();
        assert!(missing.is_sorted());
        assert_eq!(assembly.put(b"no block of it"), Ok(false));
        assert!(missing.is_empty() || assembly.finish().is_err());
    }
    assert_eq!(fs::read_dir(&scratch.0).expect("the scratch directory").count(), 1);
}

/// Returns an index with this body.
fn forged(body: &[u8]) -> Vec<u8> {
    checked_file(b"craneidx", 1, body)
}

pub(crate) fn index_seeds() -> Vec<Vec<u8>> {
    let scratch = Scratch::new("index-seeds");
    let encoded = |directory: &Path| {
        Index::of(directory).expect("a directory that was just made").encode().expect("a short one")
    };
    let empty = encoded(&scratch.0);
    fs::create_dir_all(scratch.0.join("a/b")).expect("room for a directory");
    fs::write(scratch.0.join("a/file"), vec![7; 5000]).expect("room for a file");
    std::os::unix::fs::symlink("b", scratch.0.join("a/link")).expect("room for a link");
    fs::hard_link(scratch.0.join("a/file"), scratch.0.join("other")).expect("room for a name");
    let full = encoded(&scratch.0);
    let [small, large] = [&empty, &full].map(|index| index[CHECKED_HEADER_BYTES..].to_vec());
    vec![input([(0, &small[..])]), empty, full, small, large]
}
