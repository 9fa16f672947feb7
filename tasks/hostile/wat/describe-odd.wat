;; Describes tasks at an address that is not aligned.
(memory (export "memory") 1)
(data (i32.const 16) "\41\00\00\00\01\00\00\00")
(func (export "describe") (result i32) (i32.const 16))
