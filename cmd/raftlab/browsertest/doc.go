// Package browsertest tests the pages of raftlab in a browser, headless Chromium. It is a module of
// its own, so that nobody who uses the library gets the module that drives the browser.
//
//	go -C cmd/raftlab/browsertest test .
//	go -C cmd/raftlab/browsertest test . -shots FOLDER
//
// The tests are skipped where there is no Chromium. With -shots they leave pictures of the pages in
// a folder, to be looked at.
package browsertest
