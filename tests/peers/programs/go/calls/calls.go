// Package calls is what the servers and clients of the tests in Go have in common.
package calls

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"
)

const decoy = "\r\nHTTP/1.1 500 Decoy\r\nContent-Length: 0\r\n\r\n"

// Options are the JSON object that every program of the tests is started with.
type Options struct {
	Address, Protocol, Certificate, Key, Log, Base, Plan string
	TLS, Keep                                            bool
	Concurrency                                          int
	// Before is how many calls a client makes before it is ready: then it has connections, and waits on them.
	Before int
}

// Request is tests.peers.plan.Request.
type Request struct {
	N       int         `json:"n"`
	Method  string      `json:"method"`
	Path    string      `json:"path"`
	Headers [][2]string `json:"headers"`
	Size    int         `json:"size"`
	Unit    string      `json:"unit"`
	Chunked bool        `json:"chunked"`
	Expect  bool        `json:"expect"`
}

// End is one end of a connection.
type End struct {
	Address string `json:"address"`
	Port    int    `json:"port"`
}

// Call is tests.truth.Call.
type Call struct {
	Role         string  `json:"role"`
	Method       string  `json:"method"`
	Path         string  `json:"path"`
	Status       int     `json:"status"`
	RequestSize  int64   `json:"request_size"`
	ResponseSize int64   `json:"response_size"`
	Pid          int     `json:"pid"`
	Local        End     `json:"local"`
	Remote       End     `json:"remote"`
	Protocol     string  `json:"protocol"`
	TLS          bool    `json:"tls"`
	GrpcStatus   *int    `json:"grpc_status"`
	Time         float64 `json:"time"`
}

// Log is a file with one call a line.
type Log struct {
	mutex sync.Mutex
	file  *os.File
}

// OpenLog opens a peer's log for appending.
func OpenLog(name string) *Log {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	Fail(err)
	return &Log{file: file}
}

// Write completes the call with process and time, and appends it.
func (log *Log) Write(call Call) {
	call.Pid, call.Time = os.Getpid(), float64(time.Now().UnixNano())/1e9
	line, err := json.Marshal(call)
	Fail(err)
	log.mutex.Lock()
	defer log.mutex.Unlock()
	_, err = log.file.Write(append(line, '\n'))
	Fail(err)
}

// EndOf is one end of a TCP connection.
func EndOf(address net.Addr) End {
	tcp := address.(*net.TCPAddr)
	return End{tcp.IP.String(), tcp.Port}
}

// Answer is what the query of a planned path asks for: status, content, and how it is coded.
func Answer(method string, target *url.URL, path string) (status int, content []byte, gzipped, chunked bool) {
	query := target.Query()
	status, _ = strconv.Atoi(query.Get("status"))
	size, _ := strconv.Atoi(query.Get("size"))
	unit := path + decoy
	content = bytes.Repeat([]byte(unit), size/len(unit)+1)[:size]
	if gzipped = query.Has("gzip"); gzipped {
		var coded bytes.Buffer
		writer, _ := gzip.NewWriterLevel(&coded, 1)
		_, _ = writer.Write(content)
		_ = writer.Close()
		content = coded.Bytes()
	}
	if method == "HEAD" || status == 204 || status == 304 {
		content = nil
	}
	return status, content, gzipped, query.Has("chunked") && content != nil
}

// Fail ends the program where there is an error.
func Fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// Read is the plan that a client was given.
func Read(name string) []Request {
	file, err := os.Open(name)
	Fail(err)
	defer file.Close()
	var planned []Request
	for lines := json.NewDecoder(file); lines.More(); {
		var request Request
		Fail(lines.Decode(&request))
		planned = append(planned, request)
	}
	return planned
}

// Drive makes the calls of a plan, `concurrency` at once.
func Drive(planned []Request, concurrency int, call func(Request)) {
	var workers sync.WaitGroup
	for worker := 0; worker < concurrency; worker++ {
		workers.Add(1)
		go func(worker int) {
			defer workers.Done()
			for at := worker; at < len(planned); at += concurrency {
				call(planned[at])
			}
		}(worker)
	}
	workers.Wait()
}

// Line is the next line of standard input.
func Line() {
	for one := []byte{0}; one[0] != '\n'; {
		if n, err := os.Stdin.Read(one); n == 0 || err != nil {
			return
		}
	}
}

// Main runs the part that the command line asks for: server or client, and its options.
func Main(parts map[string]func(Options)) {
	var options Options
	Fail(json.Unmarshal([]byte(os.Args[2]), &options))
	parts[os.Args[1]](options)
}
