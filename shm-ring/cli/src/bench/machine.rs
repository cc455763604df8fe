//! Machine: what the figures were measured on, and who runs where.
//!
//! (I1) either every process has a CPU of its own, or all may run on all of them, which is said.

use crate::failure::{Code, Failure};
use crate::size::CpuList;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use serde::Serialize;
use std::path::PathBuf;

/// What the kernel says of it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    /// CPUs that the tool may use.
    pub(super) cpus: usize,
    pub(super) kernel: String,
}

impl Machine {
    /// This one.
    pub(super) fn here() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let name = info.lines().find_map(|line| line.strip_prefix("model name"));
        let name = name.and_then(|rest| rest.split_once(':')).map(|(_, name)| name.trim());
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            processor: name.unwrap_or(std::env::consts::ARCH).to_owned(),
            cpus: allowed().len(),
            kernel: kernel.trim().to_owned(),
        }
    }
}

/// Who runs where.
#[derive(Clone, Debug)]
pub(super) struct Placement {
    cpus: Vec<usize>,
    /// Each process has a CPU of its own.
    pub(super) is_pinned: bool,
}

impl Placement {
    /// For so many processes, on the CPUs that were asked for.
    pub(super) fn new(asked: Option<&CpuList>, n_processes: usize) -> Result<Self, Failure> {
        let allowed = allowed();
        let cpus = match asked {
            None => spread(&allowed),
            Some(CpuList(asked)) => asked.clone(),
        };
        if let Some(cpu) = cpus.iter().find(|cpu| !allowed.contains(cpu)) {
            let found: Vec<_> = allowed.iter().map(usize::to_string).collect();
            let message = format!("--cpus: CPU {cpu} can't be used here, only {}", found.join(","));
            return Err(Failure::new(Code::Usage, message));
        }
        Ok(Self { is_pinned: cpus.len() >= n_processes, cpus })
    }

    /// Its own CPU, if it has one.
    pub(super) fn cpu_of(&self, process: usize) -> Option<usize> {
        self.cpus.get(process).copied().filter(|_| self.is_pinned)
    }

    /// Where it may run.
    pub(super) fn cpus_of(&self, process: usize) -> Vec<usize> {
        self.cpu_of(process).map_or_else(|| self.cpus.clone(), |cpu| vec![cpu])
    }

    /// Where the two that measure the floor do so: on their own CPUs, or the first two.
    pub(super) fn floor_cpu_of(&self, process: usize, is_producer: bool) -> usize {
        let first = usize::from(!is_producer) % self.cpus.len();
        self.cpu_of(process).unwrap_or(self.cpus[first])
    }

    /// How many there are.
    pub(super) fn n_cpus(&self) -> usize {
        self.cpus.len()
    }
}

/// Lets this process run on these CPUs only.
pub(super) fn pin(cpus: &[usize]) -> nix::Result<()> {
    let mut set = CpuSet::new();
    for cpu in cpus {
        set.set(*cpu)?;
    }
    sched_setaffinity(Pid::from_raw(0), &set)
}

/// The CPUs that this process may run on.
fn allowed() -> Vec<usize> {
    let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
    (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect()
}

/// One of each core first, then the rest.
fn spread(cpus: &[usize]) -> Vec<usize> {
    let core_of = |cpu: &usize| -> String {
        let siblings =
            PathBuf::from(format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"));
        // Without that, each is taken for a core.
        std::fs::read_to_string(siblings).unwrap_or_else(|_| cpu.to_string())
    };
    let cores: Vec<_> = cpus.iter().map(core_of).collect();
    let (firsts, rest): (Vec<_>, Vec<_>) =
        cpus.iter().enumerate().partition(|(i, _)| !cores[..*i].contains(&cores[*i]));
    firsts.into_iter().chain(rest).map(|(_, cpu)| *cpu).collect()
}
