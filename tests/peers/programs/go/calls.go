// Command peers is the server and the client of the tests in Go: net/http on crypto/tls.
//
//	peers server|client OPTIONS
package main

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
	Time         float64 `json:"time"`
}

// Log is a file with one call a line.
type Log struct {
	mutex sync.Mutex
	file  *os.File
}

func openLog(name string) *Log {
	file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	fail(err)
	return &Log{file: file}
}

func (log *Log) write(call Call) {
	call.Pid, call.Time = os.Getpid(), float64(time.Now().UnixNano())/1e9
	line, err := json.Marshal(call)
	fail(err)
	log.mutex.Lock()
	defer log.mutex.Unlock()
	_, err = log.file.Write(append(line, '\n'))
	fail(err)
}

func end(address net.Addr) End {
	tcp := address.(*net.TCPAddr)
	return End{tcp.IP.String(), tcp.Port}
}

// answer is what the query of a planned path asks for: status, content, and how it is coded.
func answer(method string, target *url.URL, path string) (status int, content []byte, gzipped, chunked bool) {
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

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var options Options
	fail(json.Unmarshal([]byte(os.Args[2]), &options))
	map[string]func(Options){"server": server, "client": client}[os.Args[1]](options)
}
