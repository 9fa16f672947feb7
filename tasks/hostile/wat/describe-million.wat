;; Describes a million tasks, in a hundred and twenty megabytes of its memory.
(memory (export "memory") 1843)
(data (i32.const 16) "\40\00\00\00\40\42\0f\00")
(func (export "describe") (result i32) (i32.const 16))
