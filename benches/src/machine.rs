//! Machine: what figures depend on that is not ours.

use std::path::Path;

use rustix::fs::statfs;

/// The processor's model.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    model.unwrap_or(std::env::consts::ARCH).to_owned()
}

/// The first line of a file.
pub fn first_line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or("unknown").to_owned()
}

/// The load average of the last minute: who else was there.
pub fn load() -> String {
    first_line("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned()
}

/// What a directory's files are kept in.
pub fn file_system(directory: &Path) -> &'static str {
    match statfs(directory).map(|found| found.f_type) {
        Ok(0xef53) => "ext4",
        Ok(0x5846_5342) => "xfs",
        Ok(0x9123_683e) => "btrfs",
        Ok(0x0102_1994) => "tmpfs",
        Ok(0x794c_7630) => "overlay",
        _ => "another file system",
    }
}
