;; Fails and asks for a retry after a time that is not a number.
(memory (export "memory") 1)
(data (i32.const 128) "null")
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (i32.store8 (i32.const 0) (i32.const 1))
  (i32.store8 (i32.const 24) (i32.const 1))
  (i32.store8 (i32.const 32) (i32.const 1))
  (f64.store (i32.const 40) (f64.const nan))
  (i32.const 0))
