;; Describes a task with a schema of six megabytes.
(memory (export "memory") 100)
(data (i32.const 16) "\40\00\00\00\01\00\00\00")
(data (i32.const 64) "\00\02\00\00\06\00\00\00\00\00\00\00\00\00\00\00\00\04\00\00\00\00\60\00\00\00\00\00\00\00\00\00")
(data (i32.const 512) "attack")
(func $start (memory.fill (i32.const 1024) (i32.const 32) (i32.const 6291456)))
(start $start)
(func (export "describe") (result i32) (i32.const 16))
