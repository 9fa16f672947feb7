;; Describes a task whose name is no text.
(memory (export "memory") 1)
(data (i32.const 16) "\40\00\00\00\01\00\00\00")
(data (i32.const 64) "\00\02\00\00\04\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 512) "\ff\fe\c0\80")
(func (export "describe") (result i32) (i32.const 16))
