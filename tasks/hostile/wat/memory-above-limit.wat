;; Declares a memory that fits the pool and not the limit of its task.
(memory (export "memory") 3000)
