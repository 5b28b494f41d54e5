//! What is hydrated, where to, and how fast it comes.

use crate::archive::Method;
use crate::bench::Bench;
use crate::scratch::Place;
use crate::server::Speed;

/// A project's files and their bytes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size {
    pub files: usize,
    pub bytes: usize,
}

const SMALL: Size = Size { files: 30, bytes: 200_000 };
const LARGE: Size = Size { files: 2_000, bytes: 50_000_000 };
/// More than a snapshot may be.
const HUGE: Size = Size { files: 20_000, bytes: 200_000_000 };
/// In place of the larger ones where nothing is to be measured.
const QUICK: Size = Size { files: 60, bytes: 600_000 };

/// The size that the goals speak of.
pub const GOALS: Size = LARGE;

/// One comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Case {
    pub speed: Speed,
    pub place: Place,
    pub size: Size,
    pub method: Method,
}

pub fn sizes(bench: &Bench) -> Vec<Size> {
    bench.size(vec![SMALL, LARGE, HUGE], vec![QUICK])
}

/// Every case of one archive. The slowest ones are left out unless everything is asked for: what they cost would be most
/// of the whole run, and on a slow line neither the disk nor the contender matters.
pub fn of(bench: &Bench, size: Size, method: Method) -> Vec<Case> {
    let mut cases = Vec::new();
    for speed in [Speed::Unthrottled, Speed::Line] {
        for place in [Place::Tmpfs, Place::Disk] {
            let case = Case { speed, place, size, method };
            if bench.options.quick && (speed == Speed::Line) != (place == Place::Disk) {
                continue;
            }
            if bench.options.complete || !case.is_slow() {
                cases.push(case);
            }
        }
    }
    cases
}

impl Case {
    pub fn name(&self) -> String {
        format!("{}, {}, {}", self.column(), self.speed.name(), self.place.name())
    }

    pub fn column(&self) -> String {
        let Size { files, bytes } = self.size;
        let bytes =
            if bytes < 1_000_000 { format!("{} KB", bytes / 1000) } else { format!("{} MB", bytes / 1_000_000) };
        format!("{files} files, {bytes}, {}", self.method.name())
    }

    fn is_slow(&self) -> bool {
        let second = self.place == Place::Disk || self.method == Method::Stored;
        match (self.speed, self.size) {
            (Speed::Line, HUGE) => second,
            (Speed::Line, LARGE) => self.place == Place::Disk && self.method == Method::Stored,
            (Speed::Unthrottled, HUGE) => self.place == Place::Disk,
            _ => false,
        }
    }
}
