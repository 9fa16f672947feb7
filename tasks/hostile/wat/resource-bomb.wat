;; Makes resources of its own and never drops one: handles without a call of the host.
(component
  $TYPES
  (type $thing (resource (rep i32)))
  (core func $new (canon resource.new $thing))
  (core module $m
    (import "host" "new" (func $new (param i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 16) "\40\00\00\00\01\00\00\00")
    (data (i32.const 64) "\00\02\00\00\06\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00\00")
    (data (i32.const 512) "attack")
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
    (func (export "describe") (result i32) (i32.const 16))
    (func (export "post-run") (param i32))
    (func (export "run") (param i32 i32 i32 i32 i32 i32 i32) (result i32)
      (loop $again (drop (call $new (i32.const 1))) (br $again))
      (unreachable)))
  (core instance $i (instantiate $m (with "host" (instance (export "new" (func $new))))))
  $EXPORTS)
