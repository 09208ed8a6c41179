//! What boot loaders are told, in the language of each. A [`CommandLine`] holds nothing that any of them would change.

use crate::command_line::CommandLine;

/// For iPXE: fetch both by HTTP and start. A fetch that fails is tried again, since a switch port may still be learning.
pub fn ipxe(base: &str, command_line: &CommandLine) -> String {
    format!(
        "#!ipxe\n\
         set tries:int32 0\n\
         :start\n\
         imgfree\n\
         kernel {base}/kernel initrd=ramdisk {command_line} || goto again\n\
         initrd --name ramdisk {base}/ramdisk || goto again\n\
         boot || goto again\n\
         :again\n\
         inc tries\n\
         iseq ${{tries}} 10 && goto give_up ||\n\
         sleep 3\n\
         goto start\n\
         :give_up\n\
         echo Corten: the server does not give the kernel; rebooting\n\
         sleep 10\n\
         reboot\n"
    )
}

/// For GRUB, which finds itself on the image's ISO file system.
pub fn grub(kernel: &str, ramdisks: &[&str], command_line: &CommandLine) -> String {
    let ramdisks = ramdisks.join(" ");
    format!("set timeout=0\nlinux {kernel} {command_line}\ninitrd {ramdisks}\nboot\n")
}

pub fn isolinux(kernel: &str, ramdisks: &[&str], command_line: &CommandLine) -> String {
    let ramdisks = ramdisks.join(",");
    format!(
        "DEFAULT corten\nLABEL corten\n  LINUX {kernel}\n  INITRD {ramdisks}\n  APPEND {command_line}\n"
    )
}
