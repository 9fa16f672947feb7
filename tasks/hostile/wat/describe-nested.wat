;; Describes a task with a schema that nests a hundred thousand deep.
(memory (export "memory") 10)
(data (i32.const 16) "\40\00\00\00\01\00\00\00")
(data (i32.const 64) "\00\02\00\00\06\00\00\00\00\00\00\00\00\00\00\00\00\04\00\00\a0\86\01\00\00\00\00\00\00\00\00\00")
(data (i32.const 512) "attack")
(func $start (memory.fill (i32.const 1024) (i32.const 91) (i32.const 100000)))
(start $start)
(func (export "describe") (result i32) (i32.const 16))
