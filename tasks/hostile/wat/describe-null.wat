;; Describes two tasks at the null pointer, all of them zeros.
(memory (export "memory") 1)
(data (i32.const 1024) "\00\00\00\00\02\00\00\00")
(func (export "describe") (result i32) (i32.const 1024))
