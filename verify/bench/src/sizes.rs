//! The time to create, open and destroy a store, and its memory, by the number of locks.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use crate::allocation::has_room;
use crate::effort::Effort;
use crate::peers::podman::Segment;
use crate::promise;
use crate::row::Row;
use crate::scratch::Scratch;
use crate::unit::Unit;

const GROUP: &str = "a store, by the number of its locks";
/// The size of the promise.
const PROMISED: u32 = 1 << 20;
const PODMAN: &str = "podman's segment";

/// The measurements of one round.
#[derive(Default)]
struct Costs {
    create: Vec<f64>,
    open: Vec<f64>,
    destroy: Vec<f64>,
    file: Vec<f64>,
    blocks: Vec<f64>,
    resident: Vec<f64>,
}

pub(crate) fn rows(scratch: &Scratch, effort: &Effort) -> Vec<Row> {
    effort.sizes.iter().flat_map(|locks| rows_of(scratch, effort, *locks)).collect()
}

fn rows_of(scratch: &Scratch, effort: &Effort, locks: u32) -> Vec<Row> {
    if let Err(why) = has_room(scratch.path(), Segment::bytes(locks)) {
        return vec![Row::unmeasured(GROUP, format!("of {locks}"), Unit::Nanoseconds, why)];
    }
    let rounds = if locks > PROMISED { 5 } else { effort.slow_rounds };
    let (mut ours, mut podman) = (Costs::default(), Costs::default());
    for round in 0..rounds {
        if round % 2 == 0 {
            measure_ours(scratch, locks, &mut ours);
            measure_podman(scratch.path(), locks, &mut podman);
        } else {
            measure_podman(scratch.path(), locks, &mut podman);
            measure_ours(scratch, locks, &mut ours);
        }
    }
    let row = |what: &str, unit, of: fn(&Costs) -> &Vec<f64>| {
        Row::new(GROUP, format!("of {locks}: {what}"), unit, of(&ours)).against(PODMAN, of(&ours), of(&podman))
    };
    let promised = |row: Row, promise| if locks == PROMISED { row.promise(promise) } else { row };
    let open = row("open", Unit::Nanoseconds, |costs| &costs.open);
    let open =
        if locks == effort.sizes[0] { open.promise(promise::OPEN_TO_PODMAN) } else { promised(open, promise::CREATE_OR_OPEN_NS) };
    vec![
        promised(row("create", Unit::Nanoseconds, |costs| &costs.create), promise::CREATE_OR_OPEN_NS),
        open,
        row("destroy", Unit::Nanoseconds, |costs| &costs.destroy),
        row("length of the file", Unit::Bytes, |costs| &costs.file),
        promised(row("blocks of the file", Unit::Bytes, |costs| &costs.blocks), promise::BYTES_TOUCHED),
        promised(row("resident after open", Unit::Bytes, |costs| &costs.resident), promise::BYTES_TOUCHED),
    ]
}

fn measure_ours(scratch: &Scratch, locks: u32, costs: &mut Costs) {
    let (store, create) = timed(|| scratch.create("shm", "sizes", &format!("?capacity={locks}")));
    let path = scratch.path().join("sizes");
    let url = store.url().to_owned();
    drop(store);
    let (store, open) = timed(|| lock_any::open(&url).expect("it is there"));
    costs.take(create, open, &path);
    let ((), destroy) = timed(|| {
        store.destroy().expect("it is there");
        drop(store);
    });
    costs.destroy.push(destroy);
}

fn measure_podman(scratch: &Path, locks: u32, costs: &mut Costs) {
    let path = scratch.join("sizes-podman");
    let (segment, create) = timed(|| Segment::create(&path, locks));
    drop(segment);
    let (segment, open) = timed(|| Segment::open(&path, locks));
    costs.take(create, open, &path);
    let ((), destroy) = timed(|| segment.destroy());
    costs.destroy.push(destroy);
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed().as_nanos() as f64)
}

impl Costs {
    /// Measures the open store.
    fn take(&mut self, create: f64, open: f64, path: &Path) {
        let meta = fs::metadata(path).expect("it is there");
        self.create.push(create);
        self.open.push(open);
        self.file.push(meta.len() as f64);
        self.blocks.push((meta.blocks() * 512) as f64);
        self.resident.push(resident(path) as f64);
    }
}

/// Returns the bytes of the file in the page tables of this process.
fn resident(path: &Path) -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").expect("there is /proc");
    let (mut ours, mut sum) = (false, 0);
    for line in maps.lines() {
        if let Some(size) = line.strip_prefix("Rss:") {
            let kilobytes = size.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
            sum += if ours { kilobytes * 1024 } else { 0 };
        } else if !line.split(' ').next().is_some_and(|first| first.ends_with(':')) {
            ours = line.ends_with(&*path.to_string_lossy());
        }
    }
    sum
}
