//! Network: file systems that other machines, or a process in between, may have a share in, by their numbers in `statfs`.
//!
//! (I1) what is on one of these is refused by its name, before anything of it is mapped or locked; (I2) what is not known is taken for local.
//! Knows no way to ask a file system itself.

use super::file::io_error;
use crate::error::{Error, FileKind};
use nix::sys::statfs::fstatfs;
use std::fs::File;
use std::path::Path;

/// Refuses a file of which two mappings need not be the same memory.
pub(crate) fn refuse_network(file: &File, path: &Path, kind: FileKind) -> Result<(), Error> {
    let found = fstatfs(file).map_err(|error| io_error("examine the file system of", path)(error.into()))?;
    // All magic numbers have 32 bits; some C libraries extend their sign.
    let magic = found.filesystem_type().0 & 0xffff_ffff;
    match u32::try_from(magic).ok().and_then(network_file_system) {
        Some(found) => Err(Error::NetworkFileSystem { kind, path: path.to_path_buf(), found }),
        None => Ok(()),
    }
}

/// What a file system is called that other machines may have a share in, or that a process serves as it likes; by its number in `statfs`.
fn network_file_system(magic: u32) -> Option<&'static str> {
    Some(match magic {
        0x6969 => "NFS",
        0x517b => "SMB",
        0xff53_4d42 => "CIFS",
        0xfe53_4d42 => "SMB2",
        0x0102_1997 => "9P",
        0x5346_414f | 0x6b41_4653 => "AFS",
        0x00c3_6400 => "Ceph",
        0x7375_7245 => "Coda",
        0x0116_1970 => "GFS2",
        0x7461_636f => "OCFS2",
        0x0bd0_0bd0 => "Lustre",
        0x4750_4653 => "GPFS",
        0x1983_0326 => "BeeGFS",
        0x2003_0528 => "OrangeFS",
        0x786f_4256 => "a shared folder of VirtualBox",
        0xbacb_acbc => "a shared folder of VMware",
        0x7c7c_6673 => "a shared folder of Parallels",
        0x6573_5546 => "FUSE",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: what other machines share is refused by its name, and what is local is not. Method: numbers of linux/magic.h; this directory.
    #[test]
    fn network_file_systems_are_known() {
        let shared = [
            (0x6969, "NFS"),
            (0x517b, "SMB"),
            (0xff53_4d42, "CIFS"),
            (0xfe53_4d42, "SMB2"),
            (0x0102_1997, "9P"),
            (0x5346_414f, "AFS"),
            (0x6b41_4653, "AFS"),
            (0x00c3_6400, "Ceph"),
            (0x7375_7245, "Coda"),
            (0x0116_1970, "GFS2"),
            (0x7461_636f, "OCFS2"),
            (0x6573_5546, "FUSE"),
            (0xbacb_acbc, "a shared folder of VMware"),
            (0x7c7c_6673, "a shared folder of Parallels"),
        ];
        for (magic, name) in shared {
            assert_eq!(network_file_system(magic), Some(name), "{magic:#x}");
        }
        let [tmpfs, ramfs, ext4, xfs, btrfs] = [0x0102_1994, 0x8584_58f6, 0xef53, 0x5846_5342, 0x9123_683e];
        let [zfs, f2fs, overlayfs, hugetlbfs] = [0x2fc1_2fc1, 0xf2f5_2010, 0x794c_7630, 0x9584_58f6];
        for magic in [tmpfs, ramfs, ext4, xfs, btrfs, zfs, f2fs, overlayfs, hugetlbfs, 0, u32::MAX] {
            assert_eq!(network_file_system(magic), None, "{magic:#x}");
        }
        refuse_network(&tempfile::tempfile().unwrap(), Path::new("here"), FileKind::Ring).unwrap();
    }
}
