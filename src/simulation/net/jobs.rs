//! Work that a thread of its own does in a real node, and changes of the network that a time brings.

use std::fmt;

use super::Net;
use crate::simulation::Site;

type Work = Box<dyn FnOnce() + Send>;

/// See the module.
struct Job {
    at_ns: u64,
    /// Where it is done.
    site: Site,
    work: Work,
    /// It comes because time has passed, so a network that waits for it is idle.
    is_timer: bool,
}

/// Jobs, in the order in which they were begun.
#[derive(Default)]
pub(super) struct Jobs(Vec<Job>);

impl Jobs {
    pub(super) fn is_busy(&self) -> bool {
        self.0.iter().any(|job| !job.is_timer)
    }

    /// The place of the next one; of several at one time the first.
    fn first(&self) -> Option<usize> {
        // A search and no heap: there are few, and of equal times the first begun must come first.
        let by_time = self.0.iter().enumerate().min_by_key(|(_, job)| job.at_ns);
        by_time.map(|(index, _)| index)
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("len", &self.0.len()).finish()
    }
}

impl Net {
    /// Has work done at that site, after a time that is drawn up to `longest_ns`.
    pub(crate) fn defer(&mut self, site: Site, longest_ns: u64, work: Work) {
        let at_ns = self
            .now_ns
            .saturating_add(self.random.between(0, longest_ns));
        self.jobs.0.push(Job {
            at_ns,
            site,
            work,
            is_timer: false,
        });
    }

    /// Has work done at that site at that time.
    pub(crate) fn at(&mut self, at_ns: u64, site: Site, work: Work) {
        self.jobs.0.push(Job {
            at_ns,
            site,
            work,
            is_timer: true,
        });
    }

    /// When the next job is due.
    pub(crate) fn next_job_ns(&self) -> Option<u64> {
        self.jobs.first().map(|index| self.jobs.0[index].at_ns)
    }

    /// Takes out a job that is due.
    pub(crate) fn take_job(&mut self) -> Option<(Site, Work)> {
        let index = self.jobs.first()?;
        // A job that runs ahead of its time would read a clock that has not come so far.
        if self.jobs.0[index].at_ns > self.now_ns {
            return None;
        }
        let job = self.jobs.0.remove(index);
        Some((job.site, job.work))
    }
}
