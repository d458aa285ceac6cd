package groups

var sendHook func(string)
