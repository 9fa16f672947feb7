;; Takes all the memory that it can get in its start function, and keeps trying.
(memory (export "memory") 1)
(func $start (loop $again (drop (memory.grow (i32.const 1))) (br $again)))
(start $start)
