//! A name, and the groups of ids that it can be in.

use crate::hash::fnv1a;
use crate::header::NAME_CLAIMS;
use crate::layout::{GROUP, Geometry, LABEL_WORDS, SEGMENTS};
use crate::record::{TEMPORARY, encode_text};
use lock_core::Label;

/// The golden ratio, as a fraction of 2⁶⁴. It gives each segment another hash.
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A name, prepared for a search.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'a> {
    label: &'a Label,
    words: [u64; LABEL_WORDS],
    hash: u64,
}

impl<'a> Name<'a> {
    pub(crate) fn new(label: &'a Label) -> Self {
        let mut words = [0; LABEL_WORDS];
        words.iter_mut().zip(encode_text(label.as_str(), LABEL_WORDS)).for_each(|(word, eight)| *word = eight);
        Self { label, words, hash: mix(fnv1a(label.as_str().bytes())) }
    }

    /// Returns the name as a label.
    pub(crate) fn label(&self) -> &'a Label {
        self.label
    }

    /// Returns the words of the label in a record.
    pub(crate) fn words(&self) -> &[u64] {
        &self.words
    }

    /// Returns the tag in the record of an id with this name, from 1 to 254.
    pub(crate) fn tag(&self) -> u8 {
        1 + ((self.hash >> 32) % u64::from(TEMPORARY - 1)) as u8
    }

    /// Returns the number of the claim for allocating this name.
    pub(crate) fn claim(&self) -> usize {
        (self.hash % NAME_CLAIMS as u64) as usize
    }

    /// Returns the groups in the order in which the name is searched and allocated, each group once.
    ///
    /// `limit` is the number of ids in the store, as [`rounded`] returns it. The sequence starts with the name's home group in each
    /// segment.
    pub(crate) fn groups(&self, limit: u64) -> Groups {
        debug_assert_eq!(limit, rounded(limit));
        Groups { hash: self.hash, limit, round: 0, segment: 0 }
    }
}

/// Rounds the number of ids in a store, so that the number of groups in each segment is a power of two.
///
/// A store with a rounded limit has the same sequences of groups while it grows up to that limit.
pub(crate) fn rounded(limit: u64) -> u64 {
    limit.div_ceil(GROUP as u64).next_power_of_two() * GROUP as u64
}

/// A group of a segment.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Group {
    pub(crate) segment: usize,
    pub(crate) group: usize,
}

impl Group {
    /// Returns the number of the first id.
    pub(crate) fn first(self) -> u64 {
        Geometry::of(self.segment).first + (self.group * GROUP) as u64
    }
}

/// The sequence of groups of a name. Each round has at most one group of each segment.
#[derive(Clone, Debug)]
pub(crate) struct Groups {
    hash: u64,
    limit: u64,
    round: usize,
    segment: usize,
}

impl Groups {
    /// Returns the number of groups of a segment: 0 or a power of two.
    fn groups_of(&self, segment: usize) -> usize {
        let geometry = Geometry::of(segment);
        geometry.ids.min(self.limit.saturating_sub(geometry.first)) as usize / GROUP
    }

    /// Returns the group of a segment in this round, or `None` if the segment has none.
    ///
    /// An odd stride visits each number below a power of two once.
    fn group(&self, segment: usize) -> Option<usize> {
        let groups = self.groups_of(segment);
        if self.round >= groups {
            return None;
        }
        let hash = mix(self.hash ^ GOLDEN.wrapping_mul(segment as u64 + 1));
        let home = (((hash >> 32) * groups as u64) >> 32) as usize;
        let stride = hash as u32 as usize | 1;
        Some(home.wrapping_add(self.round.wrapping_mul(stride)) % groups)
    }
}

impl Iterator for Groups {
    type Item = Group;

    fn next(&mut self) -> Option<Group> {
        loop {
            if self.segment == SEGMENTS || self.groups_of(self.segment) == 0 {
                let most = (0..self.segment).map(|segment| self.groups_of(segment)).max()?;
                (self.segment, self.round) = (0, self.round + 1);
                if self.round >= most {
                    self.limit = 0;
                    return None;
                }
            }
            let segment = self.segment;
            self.segment += 1;
            if let Some(group) = self.group(segment) {
                return Some(Group { segment, group });
            }
        }
    }
}

/// Mixes the bits of a hash (the finalizer of MurmurHash3), because the high bits of FNV-1a depend little on the last bytes.
fn mix(mut hash: u64) -> u64 {
    for factor in [0xff51_afd7_ed55_8ccd, 0xc4ce_b9fe_1a85_ec53] {
        hash = (hash ^ hash >> 33).wrapping_mul(factor);
    }
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use rstest::rstest;

    fn groups_of(text: &str, limit: u64) -> Groups {
        Name::new(&Label::new(text).unwrap()).groups(limit)
    }

    #[rstest]
    #[case(1)]
    #[case(10)]
    #[case(64)]
    #[case(65)]
    #[case(1024)]
    #[case(1025)]
    #[case(1500)]
    #[case(2048)]
    #[case(5000)]
    #[case(1 << 17)]
    fn each_group_is_visited_once(#[case] limit: u64) {
        let limit = rounded(limit);
        for name in ["a", "b", "web", "a longer name with a number 17"] {
            let visited: Vec<_> = groups_of(name, limit).collect();
            let set: BTreeSet<_> = visited.iter().copied().collect();
            assert_eq!(visited.len(), set.len(), "a group is visited twice");
            assert!(set.iter().map(|at| at.first()).eq((0..limit).step_by(GROUP)), "{name}");
        }
    }

    #[test]
    fn a_rounded_limit_has_a_power_of_two_of_groups() {
        for (limit, expected) in [(1, 64), (64, 64), (65, 128), (1025, 2048), (1500, 2048), (2049, 4096), (1 << 32, 1 << 32)] {
            assert_eq!(rounded(limit), expected);
        }
    }

    #[test]
    fn the_sequence_has_ended_when_it_ends() {
        let mut groups = groups_of("web", 128);
        assert_eq!(groups.by_ref().count(), 2);
        assert_eq!(groups.next(), None);
    }

    #[test]
    fn an_unbounded_sequence_starts_with_a_home_in_each_segment() {
        for name in ["a", "b", "web"] {
            let visited: Vec<_> = groups_of(name, 1 << 32).take(5000).collect();
            let set: BTreeSet<_> = visited.iter().copied().collect();
            assert_eq!(visited.len(), set.len(), "a group is visited twice");
            let firsts = visited.iter().take(SEGMENTS).map(|at| at.segment);
            assert!(firsts.eq(0..SEGMENTS));
            assert!(visited.iter().all(|at| at.group < Geometry::of(at.segment).groups()));
        }
    }

    #[test]
    fn names_spread_over_groups_tags_and_claims() {
        let labels: Vec<_> = (0..10_000).map(|number| Label::new(format!("name {number}")).unwrap()).collect();
        let (mut homes, mut tags, mut claims) = ([0; 16], [0; 256], [0; NAME_CLAIMS]);
        for name in labels.iter().map(Name::new) {
            let home = name.groups(2048).next().unwrap();
            homes[home.group] += 1;
            tags[usize::from(name.tag())] += 1;
            claims[name.claim()] += 1;
        }
        assert!(homes.iter().all(|count| (500..750).contains(count)), "{homes:?}");
        assert!(claims.iter().all(|count| (100..220).contains(count)), "{claims:?}");
        assert!(tags[0] == 0 && tags[usize::from(TEMPORARY)] == 0 && tags.iter().all(|count| *count < 200), "{tags:?}");
    }
}
