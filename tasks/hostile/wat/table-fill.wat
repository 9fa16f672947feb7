;; Fills and copies its largest table, for ever.
(table $table 30000 funcref)
(func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
  (loop $again
    (table.fill $table (i32.const 0) (ref.null func) (i32.const 30000))
    (table.copy $table $table (i32.const 1) (i32.const 0) (i32.const 29999))
    (br $again))
  (unreachable))
