//! The host on which a checkpoint was taken. An image has code in it that was chosen for its
//! processor.

use std::collections::BTreeSet;
use std::fs;

use serde::{Deserialize, Serialize};

/// Facts about a host.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Origin {
    /// The version of crane.
    pub(crate) version: String,
    /// The version of the kernel.
    pub(crate) kernel: String,
    /// The features of the processor, as the kernel names them.
    pub(crate) features: BTreeSet<String>,
}

impl Origin {
    /// Returns the facts about this host.
    pub(crate) fn here() -> Self {
        let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
        let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self {
            version: env!("CARGO_PKG_VERSION").to_string(),
            kernel,
            features: features_in(&text),
        }
    }

    /// Returns why a server that was dumped there cannot run here, if it cannot.
    pub(crate) fn obstacle(&self, here: &Self) -> Option<String> {
        let missing: Vec<&str> =
            self.features.difference(&here.features).map(String::as_str).collect();
        (!missing.is_empty()).then(|| {
            format!(
                "it is from a host with a processor that has {}, which this host's has not",
                missing.join(", ")
            )
        })
    }
}

/// Returns the features that all processors of a /proc/cpuinfo have.
fn features_in(text: &str) -> BTreeSet<String> {
    let lists = text.lines().filter_map(|line| {
        let (name, list) = line.split_once(':')?;
        matches!(name.trim(), "flags" | "Features").then_some(list)
    });
    let sets = lists.map(|list| list.split_whitespace().map(String::from).collect());
    sets.reduce(|one: BTreeSet<String>, other| &one & &other).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_that_is_missing_here_is_named() {
        let text = "processor: 0\nflags\t\t: fpu sse avx\nprocessor: 1\nflags\t\t: fpu sse avx2\n";
        let features = features_in(text);
        assert_eq!(features, ["fpu", "sse"].map(String::from).into());
        let here = Origin::here();
        assert_eq!(here.obstacle(&here), None);
        assert!(!here.features.is_empty() && !here.kernel.is_empty());
        let mut there = here.clone();
        there.features.insert("vector-unit".to_string());
        assert!(there.obstacle(&here).is_some_and(|why| why.contains("vector-unit")));
        assert_eq!(here.obstacle(&there), None, "more is no obstacle");
    }
}
