//! The system calls that are left to the compiling child.
//!
//! Measured with strace over all sample modules, and held against what an allocator, a lock and a failing Rust
//! program do besides. The child reads descriptor 0 and writes 1 and 2, so that a descriptor which came in by
//! mistake is of no use; it gets no memory that is executable, no thread, no file, no socket, no process.

use std::collections::BTreeMap;
use std::io;

use seccompiler::{
    BpfProgram, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, apply_filter_all_threads,
};

/// Calls that are harmless whatever their arguments are.
const ALLOWED: &[i64] = &[
    // Memory; what maps it is bound further below.
    libc::SYS_brk,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    // Locks and turns of the compiler's threads.
    libc::SYS_futex,
    libc::SYS_sched_yield,
    // The clock, where the kernel does not serve it without a call; seeds of hash maps.
    libc::SYS_clock_gettime,
    libc::SYS_getrandom,
    // The three pipes are closed at the end.
    libc::SYS_close,
    // A thread that ends, or reports a stack overflow or a failed allocation and aborts.
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Put in by the kernel when a stopped process goes on.
    libc::SYS_restart_syscall,
];

/// Calls that are refused instead of deadly: glibc's allocator looks into /proc when a thread gives memory
/// back, and makes do without an answer.
const REFUSED: &[i64] = &[
    libc::SYS_openat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
];

/// Applies the filter to every thread of this process, for good. A call that is not allowed ends the process
/// with `SIGSYS`; says whether the kernel knows such filters at all.
pub(super) fn apply() -> Result<bool, String> {
    let main = program(allowed(), SeccompAction::KillProcess, SeccompAction::Allow);
    let refuse = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let refused: Rules = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refused = program(Ok(refused), SeccompAction::Allow, refuse);
    // Of several filters the strictest answer counts. The second one is applied first, as applying needs calls
    // that the first takes away.
    for filter in [refused, main] {
        match filter.and_then(|program| apply_filter_all_threads(&program)) {
            Ok(()) => {}
            Err(Error::Prctl(error) | Error::Seccomp(error)) if is_unknown(&error) => {
                return Ok(false);
            }
            Err(error) => return Err(format!("cannot filter system calls: {error}")),
        }
    }
    Ok(true)
}

/// Whether this kernel filters system calls, as far as it tells.
#[must_use]
pub(crate) fn is_supported() -> bool {
    let actions = std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    actions.is_ok_and(|actions| {
        actions
            .split_whitespace()
            .any(|action| action == "kill_process")
    })
}

/// How a kernel without seccomp answers.
fn is_unknown(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOSYS | libc::EINVAL | libc::EOPNOTSUPP)
    )
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A program for this processor's system calls; those of another kind (32 bit) are deadly.
fn program(
    rules: seccompiler::Result<Rules>,
    otherwise: SeccompAction,
    matching: SeccompAction,
) -> seccompiler::Result<BpfProgram> {
    let arch = std::env::consts::ARCH.try_into().map_err(Error::Backend)?;
    let filter = SeccompFilter::new(rules?, otherwise, matching, arch).map_err(Error::Backend)?;
    filter.try_into().map_err(Error::Backend)
}

/// The allow-list, with the conditions on arguments.
fn allowed() -> seccompiler::Result<Rules> {
    let mut rules: Rules = ALLOWED
        .iter()
        .chain(REFUSED)
        .map(|call| (*call, Vec::new()))
        .collect();
    let never_executable = || has_not(2, libc::PROT_EXEC);
    rules.insert(libc::SYS_read, vec![rule([is(0, 0)?])?]);
    let outputs = || Ok::<_, Error>(vec![rule([is(0, 1)?])?, rule([is(0, 2)?])?]);
    rules.insert(libc::SYS_write, outputs()?);
    rules.insert(libc::SYS_writev, outputs()?);
    rules.insert(libc::SYS_mprotect, vec![rule([never_executable()?])?]);
    // No file: only memory of its own.
    let anonymous = libc::MAP_ANONYMOUS | libc::MAP_PRIVATE;
    rules.insert(
        libc::SYS_mmap,
        vec![rule([never_executable()?, has(3, anonymous)?])?],
    );
    // `abort` is a signal to oneself; signals to others are not.
    let own = u64::from(std::process::id());
    let abort = u64::from(libc::SIGABRT.unsigned_abs());
    rules.insert(libc::SYS_tgkill, vec![rule([is(0, own)?, is(2, abort)?])?]);
    Ok(rules)
}

fn rule<const N: usize>(conditions: [SeccompCondition; N]) -> seccompiler::Result<SeccompRule> {
    SeccompRule::new(conditions.into()).map_err(Error::Backend)
}

/// The argument at `index` is `value`.
fn is(index: u8, value: u64) -> seccompiler::Result<SeccompCondition> {
    condition(index, SeccompCmpOp::Eq, value)
}

/// The argument at `index` has all these bits.
fn has(index: u8, bits: i32) -> seccompiler::Result<SeccompCondition> {
    let bits = u64::from(bits.unsigned_abs());
    condition(index, SeccompCmpOp::MaskedEq(bits), bits)
}

/// The argument at `index` has none of these bits.
fn has_not(index: u8, bits: i32) -> seccompiler::Result<SeccompCondition> {
    condition(
        index,
        SeccompCmpOp::MaskedEq(u64::from(bits.unsigned_abs())),
        0,
    )
}

fn condition(
    index: u8,
    operation: SeccompCmpOp,
    value: u64,
) -> seccompiler::Result<SeccompCondition> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operation, value).map_err(Error::Backend)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_reaches_beyond_the_process_is_allowed() {
        let rules = allowed().unwrap();
        for call in [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_sendto,
            libc::SYS_sendmsg,
            libc::SYS_kill,
            libc::SYS_tkill,
            libc::SYS_ptrace,
            libc::SYS_process_vm_readv,
            libc::SYS_process_vm_writev,
            libc::SYS_openat2,
            libc::SYS_statx,
            libc::SYS_unlinkat,
            libc::SYS_renameat2,
            libc::SYS_mkdirat,
            libc::SYS_io_uring_setup,
            libc::SYS_bpf,
            libc::SYS_memfd_create,
            libc::SYS_pidfd_open,
            libc::SYS_pidfd_getfd,
            libc::SYS_prctl,
            libc::SYS_seccomp,
            libc::SYS_ioctl,
            libc::SYS_fcntl,
            libc::SYS_dup,
            libc::SYS_pkey_mprotect,
            libc::SYS_userfaultfd,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_mount,
        ] {
            assert!(!rules.contains_key(&call), "system call {call}");
        }
    }

    #[test]
    fn both_filters_compile_for_this_processor() {
        assert!(program(allowed(), SeccompAction::KillProcess, SeccompAction::Allow).is_ok());
    }
}
