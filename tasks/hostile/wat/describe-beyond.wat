;; Describes sixteen tasks that lie beyond its memory.
(memory (export "memory") 1)
(data (i32.const 16) "\00\ff\ff\ff\10\00\00\00")
(func (export "describe") (result i32) (i32.const 16))
