//! The rule by which checkpoints are kept, on the disk and in the driver's list. Pure.

use crane_core::id::Incarnation;

/// The number of the newest ones, which are kept in any case.
const NEWEST: usize = 2;

/// The properties of a checkpoint that decide about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Traits {
    /// Whether it is proved.
    pub(crate) is_proved: bool,
    /// Whether it has an image of the server's processes.
    pub(crate) has_image: bool,
    /// The incarnation of the server.
    pub(crate) incarnation: Incarnation,
}

/// Returns which of these are kept, the newest of which is the first; `None` is one that cannot be
/// read. Beside the newest ones, these are the newest that is proved; the newest of files alone,
/// because without it the program before an upgrade would have to run again; and the one that is to
/// be proved next.
// specs: C7
pub(crate) fn kept(all: &[Option<Traits>]) -> Vec<bool> {
    let find = |fits: fn(&Traits) -> bool| all.iter().position(|it| it.as_ref().is_some_and(fits));
    let next = next_to_prove(all.iter().copied());
    let needed = [find(|it| it.is_proved), find(|it| !it.has_image), next];
    (0..all.len()).map(|at| at < NEWEST || needed.contains(&Some(at))).collect()
}

/// Removes from a list those that are not kept; the newest is the first.
pub(crate) fn keep_only<T>(all: &mut Vec<T>, traits: impl Fn(&T) -> Traits) {
    let listed: Vec<_> = all.iter().map(|it| Some(traits(it))).collect();
    let mut stays = kept(&listed).into_iter();
    all.retain(|_| stays.next() == Some(true));
}

/// Returns which one is to be proved next: the oldest image that is newer than all that are proved,
/// and of the incarnation of the newest image. A newer one would be given up for one that is newer
/// still, if the server needs more time for what a proof compares than passes between two
/// checkpoints.
// specs: C7
pub(crate) fn next_to_prove(all: impl Iterator<Item = Option<Traits>> + Clone) -> Option<usize> {
    let unproved = all.take_while(|it| it.is_none_or(|it| !it.is_proved)).enumerate();
    let images = unproved.filter_map(|(at, it)| Some((at, it.filter(|it| it.has_image)?)));
    let (_, newest) = images.clone().next()?;
    let alike = images.take_while(|(_, it)| it.incarnation == newest.incarnation);
    alike.last().map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: Option<Traits> = with(false, true, 1);
    const PROVED: Option<Traits> = with(true, true, 1);
    const FILES: Option<Traits> = with(false, false, 2);
    const LATER: Option<Traits> = with(false, true, 2);

    const fn with(is_proved: bool, has_image: bool, incarnation: u32) -> Option<Traits> {
        let incarnation = Incarnation(incarnation);
        Some(Traits { is_proved, has_image, incarnation })
    }

    fn places(all: &[Option<Traits>]) -> Vec<usize> {
        (0..all.len()).filter(|at| kept(all)[*at]).collect()
    }

    #[test]
    fn the_oldest_image_that_may_be_proved_stays_until_it_is() {
        assert_eq!(places(&[IMAGE, IMAGE, IMAGE, IMAGE, PROVED, PROVED]), [0, 1, 3, 4]);
        assert_eq!(places(&[IMAGE, IMAGE, IMAGE, PROVED, IMAGE]), [0, 1, 2, 3]);
        assert_eq!(places(&[IMAGE, PROVED, PROVED, IMAGE]), [0, 1]);
        assert_eq!(places(&[IMAGE, IMAGE, IMAGE]), [0, 1, 2]);
        assert_eq!(next_to_prove([PROVED, IMAGE].into_iter()), None);
        assert_eq!(next_to_prove([IMAGE, None, IMAGE, PROVED].into_iter()), Some(2));
    }

    #[test]
    fn an_image_of_an_incarnation_that_is_over_is_not_waited_for() {
        assert_eq!(places(&[LATER, LATER, LATER, FILES, IMAGE, IMAGE]), [0, 1, 2, 3]);
        assert_eq!(places(&[LATER, FILES, IMAGE, IMAGE, FILES]), [0, 1]);
        assert_eq!(places(&[None, None, None, PROVED]), [0, 1, 3]);
    }
}
