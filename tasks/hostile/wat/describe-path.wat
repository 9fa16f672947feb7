;; Describes a task whose name is a path, with terminal escapes in it.
(memory (export "memory") 1)
(data (i32.const 16) "\40\00\00\00\01\00\00\00")
(data (i32.const 64) "\00\02\00\00\10\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
(data (i32.const 512) "../../x\1b[2J\00{}*y")
(func (export "describe") (result i32) (i32.const 16))
