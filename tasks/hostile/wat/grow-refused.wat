;; Asks for more memory after it was refused, for ever: refusals must not be free.
(memory (export "memory") 1)
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (loop $again (drop (memory.grow (i32.const 65535))) (br $again))
  (unreachable))
