// What Java Singer's clients write, one struct in each frame.

struct LoggingAuditHeaders {
  1: required string host
  2: required string logName
  3: required i32 pid
  4: required i64 session
  5: required i32 logSeqNumInSession
  6: optional i64 timestamp
  7: optional bool tracked = 0
}

struct LogMessage {
  1: optional binary key
  2: required binary message
  3: optional i64 timestampInNanos
  4: optional i64 checksum
  5: optional LoggingAuditHeaders loggingAuditHeaders
}
